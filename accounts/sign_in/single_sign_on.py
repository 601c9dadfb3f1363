"""Signing in by OpenID Connect, stricter than allauth alone: signatures, issuers and subjects are always checked.

Who comes is known by the provider's subject; the first time, by an address that the provider has verified. Somebody
whom nobody invited is let in only where NEXUS_OIDC_NEWCOMERS says as what.
"""

import logging
from collections.abc import Mapping
from typing import Any

import jwt
from allauth.account.internal.decorators import login_not_required
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.adapter import get_adapter as get_social_adapter
from allauth.socialaccount.helpers import render_authentication_error
from allauth.socialaccount.models import SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from requests import RequestException

from accounts import audit, invitations, services
from accounts.audit import Actor
from accounts.models import Tenant, User
from accounts.sign_in import trail
from accounts.sign_in.oidc import PROVIDER_ID

logger = logging.getLogger(__name__)

# Signatures that a provider's published keys prove. HMAC would be proven by the client secret, "none" by nobody.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LEEWAY_SECONDS = 60  # that the two clocks may differ
_ACTOR = Actor.system("single sign-on")
_UNREACHABLE = (RequestException, ValueError, KeyError)  # no answer, no JSON, or not the members that there must be


class StrictAdapter(OpenIDConnectOAuth2Adapter):
    """Takes an identity from an ID token that the provider signed for us, completed by its user information."""

    def complete_login(self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any) -> SocialLogin:
        raw = kwargs["response"].get("id_token")
        if not raw:
            raise OAuth2Error("the provider sent no ID token")
        claims = verified_claims(raw, keys=self._keys(), issuer=self._issuer(), audience=app.client_id)
        told = {**claims, **self._more_about(claims, token)}
        if "email_verified" in told:
            # Some providers send the word instead of the value, and the word "false" is true to Python.
            told["email_verified"] = told["email_verified"] is True or told["email_verified"] == "true"
        return self.get_provider().sociallogin_from_response(request, {"userinfo": told, "id_token": claims})

    def _issuer(self) -> str:
        issuer: str = self.openid_config["issuer"]
        if issuer.rstrip("/") != settings.NEXUS_OIDC_ISSUER:
            raise OAuth2Error(f"the provider calls itself {issuer}, not {settings.NEXUS_OIDC_ISSUER}")
        return issuer

    def _keys(self) -> Mapping[str, Any]:
        with get_social_adapter().get_requests_session() as session:
            answer = session.get(self.openid_config["jwks_uri"])
            answer.raise_for_status()
            keys: Mapping[str, Any] = answer.json()
        return keys

    def _more_about(self, claims: Mapping[str, Any], token: SocialToken) -> Mapping[str, Any]:
        if "userinfo_endpoint" not in self.openid_config:
            return {}
        told: Mapping[str, Any] = self._fetch_user_info(token.token)
        if told.get("sub") != claims["sub"]:
            raise OAuth2Error("the provider's user information is about somebody else")
        return told


def verified_claims(token: str, *, keys: Mapping[str, Any], issuer: str, audience: str) -> dict[str, Any]:
    """Return what an ID token says, once its signature, issuer, audience and times hold. Raises OAuth2Error."""
    try:
        header = jwt.get_unverified_header(token)
        if header.get("alg") not in ALGORITHMS:
            raise OAuth2Error(f"the ID token is signed by {header.get('alg')}, which proves nothing")
        found = [key for key in jwt.PyJWKSet.from_dict(dict(keys)).keys if header.get("kid") in (None, key.key_id)]
        if len(found) != 1:
            raise OAuth2Error("the ID token names no key that the provider publishes")
        claims: dict[str, Any] = jwt.decode(
            token,
            key=found[0].key,
            algorithms=[header["alg"]],
            issuer=issuer,
            audience=audience,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iat", "iss", "aud", "sub"]},
        )
    except (jwt.PyJWTError, TypeError) as error:
        raise OAuth2Error(f"the ID token does not hold: {error}") from error
    if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and claims.get("azp") != audience:
        raise OAuth2Error("the ID token is for several, and not given out to us")
    return claims


class SocialAccountAdapter(DefaultSocialAccountAdapter):
    """Who may come in by the provider, and as whom."""

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Know somebody again by their address, the first time they come by the provider."""
        if sociallogin.is_existing:
            return
        email = proven_address(sociallogin)
        user = User.objects.filter(email=email).first() if email else None
        if user is not None and user.is_active:
            linked = {"provider": [None, settings.NEXUS_OIDC_NAME]}
            with transaction.atomic():
                sociallogin.connect(request, user)
                trail.note(user, "user.sign_in_linked", request=request, changes=linked)

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        email = proven_address(sociallogin)
        known = not email or User.objects.filter(email=email).exists()  # somebody known is switched off, to come here
        if not known and (settings.NEXUS_OIDC_NEWCOMERS or invitations.awaited(email)):
            return True
        context = {"email": _address(sociallogin), "proven": bool(email)}
        raise ImmediateHttpResponse(render(request, "account/signup_closed.html", context, status=403))

    def populate_user(self, request: HttpRequest, sociallogin: SocialLogin, data: Mapping[str, Any]) -> User:
        user: User = sociallogin.user
        user.email = (data.get("email") or "").strip().lower()
        user.name = (data.get("name") or "").strip()[:100]
        return user

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> User:
        """Make the person and, where newcomers have a place, their membership."""
        user: User = sociallogin.user
        with transaction.atomic():
            user.set_unusable_password()
            sociallogin.save(request)
            audit.log(actor=_ACTOR, action="user.created", target=user, tenant=None)
            slug, _, role = settings.NEXUS_OIDC_NEWCOMERS.partition(":")
            tenant = Tenant.objects.filter(slug=slug).first() if slug else None
            if tenant is not None:
                services.add_member(tenant, email=user.email, role=role, actor=_ACTOR)
        return user

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None, extra_context: Any = None
    ) -> None:
        logger.warning("single sign-on failed", extra={"error": str(error or ""), "reason": str(exception or "")})


def proven_address(sociallogin: SocialLogin) -> str:
    """Return the address that the provider has verified; empty for one of which it says nothing good."""
    told = sociallogin.account.extra_data.get("userinfo", {})
    said = told.get("email_verified")
    if said is None and settings.NEXUS_OIDC_TRUST_EMAIL:
        said = True
    return _address(sociallogin) if said is True else ""


def _address(sociallogin: SocialLogin) -> str:
    return str(sociallogin.account.extra_data.get("userinfo", {}).get("email") or "").strip().lower()


@require_safe
@never_cache
@login_not_required
def begin(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Go to the provider. Of what the address asks for only `next` counts, so that a link can change nothing else."""
    request.GET = QueryDict(urlencode({"next": str(request.GET["next"])}) if "next" in request.GET else "")
    return _by_provider(OAuth2LoginView, request, provider_id)


@require_safe
@never_cache
@login_not_required
def callback(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Come back from the provider."""
    return _by_provider(OAuth2CallbackView, request, provider_id)


def _by_provider(view: Any, request: HttpRequest, provider_id: str) -> HttpResponse:
    if not settings.NEXUS_OIDC_ISSUER or provider_id != PROVIDER_ID:
        raise Http404
    adapter = StrictAdapter(request, provider_id)
    try:
        response: HttpResponse = view.adapter_view(adapter)(request)
    except _UNREACHABLE as error:
        response = render_authentication_error(request, adapter.get_provider(), exception=error)
    return response
