"""What the environment says about the OpenID Connect provider. Pure; docs/sign-in.md has it per provider."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

PROVIDER_ID = "sso"  # in the callback's address, which operators enter at their provider
_ROLES = ("admin", "developer", "viewer")
_CONFIGURATION = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class Settings:
    """One provider, or none while `issuer` is empty."""

    issuer: str
    client_id: str
    client_secret: str
    name: str
    scopes: tuple[str, ...]
    trust_email: bool  # take addresses as proven that the provider says nothing about
    newcomers: str  # "tenant:role" for people nobody invited; empty: they are refused

    def fault(self, *, password_sign_in: bool) -> str | None:
        """Return what is wrong, in one sentence that names the setting."""
        if not self.issuer:
            if not password_sign_in:
                return "NEXUS_PASSWORD_SIGN_IN=false leaves no way in: set NEXUS_OIDC_ISSUER too."
            return None
        if not _is_safe(self.issuer):
            return f"NEXUS_OIDC_ISSUER must be an https:// URL, not {self.issuer!r}."
        if self.issuer.endswith(_CONFIGURATION):
            return f"NEXUS_OIDC_ISSUER is the issuer itself, without {_CONFIGURATION}."
        for name, value in (("CLIENT_ID", self.client_id), ("CLIENT_SECRET", self.client_secret)):
            if not value:
                return f"NEXUS_OIDC_{name} is not set: NEXUS_OIDC_ISSUER needs it."
        if "openid" not in self.scopes:
            return "NEXUS_OIDC_SCOPES must contain openid."
        if self.newcomers and self.newcomers.partition(":")[2] not in _ROLES:
            return f"NEXUS_OIDC_NEWCOMERS must be a tenant and a role, as in acme:viewer, not {self.newcomers!r}."
        return None

    def providers(self) -> Mapping[str, Any]:
        """Return allauth's own setting for it."""
        if not self.issuer:
            return {}
        app = {
            "provider_id": PROVIDER_ID,
            "name": self.name,
            "client_id": self.client_id,
            "secret": self.client_secret,
            "settings": {"server_url": self.issuer + _CONFIGURATION},
        }
        return {"openid_connect": {"APPS": [app], "OAUTH_PKCE_ENABLED": True, "SCOPE": list(self.scopes)}}


def _is_safe(issuer: str) -> bool:
    """Return whether what is asked of the issuer cannot be read or changed on its way; loopback is no way."""
    parts = urlsplit(issuer)
    if parts.scheme == "https":
        return bool(parts.hostname)
    try:
        return parts.scheme == "http" and ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
