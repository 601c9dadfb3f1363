"""What a provider connection may consist of: family, base URL, models and options.

Pure: the operator's allowance is passed in. Every refusal is an InvalidRequest that names the field at fault and says
what would be accepted.
"""

import ipaddress
import re
import socket
from collections.abc import Mapping
from typing import Any

from gateway.egress import SETTING, Allowance, refuse_reason
from gateway.origin import Origin, parse_base_url
from gateway.providers.presets import PRESETS
from gateway.providers.registry import FAMILIES
from nexus.errors import InvalidRequest

MAX_MODELS = 500
MAX_MODEL_NAME = 200  # characters
MAX_KEY = 4096  # characters; OAuth tokens are longer than keys
MAX_BASE_URL = 500  # characters
_SHOWN_FROM = 12  # a shorter key would be half told by its last four characters
_TEXT_OPTIONS: Mapping[str, frozenset[str]] = {
    "openai": frozenset(("organization", "project")),
    "openai_compatible": frozenset(("preset",)),
    "anthropic": frozenset(("anthropic_version",)),
    "bedrock": frozenset(("region", "access_key_id")),
    "azure_openai": frozenset(("api_version",)),
    "mistral": frozenset(),
    "cohere": frozenset(),
    "gemini": frozenset(),
}
_OTHER_OPTIONS: Mapping[str, frozenset[str]] = {"gemini": frozenset(("vertex",))}
_VERTEX = "vertex must be an object of two names as Google Cloud has them: project and location."
_VERTEX_NAMES = {
    "project": re.compile(r"[a-z0-9](?:[a-z0-9.:-]{0,98}[a-z0-9])?\Z"),
    "location": re.compile(r"[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?\Z"),
}
_PRINTABLE = re.compile(r"[\x21-\x7e]*\Z")  # what may stand in a header without ending it
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_REGION = re.compile(r"[a-z]{2}(-[a-z]{2,12}){1,3}-[0-9]{1,2}\Z")
_NUMBER = re.compile(r"(0x[0-9a-f]+|[0-9]+)\Z")


def checked_family(family: str) -> str:
    """Return the family if this gateway speaks it."""
    if family in FAMILIES:
        return family
    available = ", ".join(sorted(FAMILIES))
    raise InvalidRequest(f"The family is unknown. Available: {available}.", param="family")


def default_base_url(family: str, options: Mapping[str, Any]) -> str:
    """Return the family's own address, which may depend on the options; "" where it has none."""
    adapter = FAMILIES[family]
    if adapter.own_base_url is not None:
        return adapter.own_base_url(options)
    return adapter.default_base_url


def checked_base_url(
    family: str, base_url: str, allowance: Allowance, *, options: Mapping[str, Any] | None = None
) -> str:
    """Return the base URL to store: the family's own, or its preset's, when none is given.

    An address that the gateway would never dial is refused here, where somebody reads the answer. Names are resolved
    and judged again at every connect.
    """
    url = base_url.strip() or default_base_url(family, options or {})
    if not url:
        raise InvalidRequest(f"The family {family} has no address of its own: give a base_url.", param="base_url")
    if len(url) > MAX_BASE_URL:
        raise InvalidRequest(f"The base URL must not exceed {MAX_BASE_URL} characters.", param="base_url")
    try:
        origin, path = parse_base_url(url)
    except ValueError as error:
        raise InvalidRequest(str(error), param="base_url") from error
    reason = _refusal(origin, allowance)
    if reason is not None:
        raise InvalidRequest(
            f"The base URL points at {reason}, which is not dialled. The operator can allow it by {SETTING}.",
            param="base_url",
        )
    return f"{origin.scheme}://{origin.host_header.decode()}{path}"


def checked_models(models: Mapping[str, Any]) -> dict[str, str]:
    """Return the public model names with the upstream's own."""
    if not models:
        raise InvalidRequest('Name at least one model: {"public-name": "upstream-name"}.', param="models")
    if len(models) > MAX_MODELS:
        raise InvalidRequest(f"A provider serves at most {MAX_MODELS} models.", param="models")
    for name in (*models, *models.values()):
        if (
            not isinstance(name, str)
            or not 1 <= len(name) <= MAX_MODEL_NAME
            or not name.isprintable()
            or name != name.strip()
        ):
            raise InvalidRequest(
                f"Model names are strings of 1 to {MAX_MODEL_NAME} printable characters.", param="models"
            )
    return dict(models)


def checked_options(family: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options, all of which the family knows."""
    texts, others = _TEXT_OPTIONS[family], _OTHER_OPTIONS.get(family, frozenset())
    for name, value in options.items():
        if name == "drop_unsupported":
            if not isinstance(value, bool):
                raise InvalidRequest("drop_unsupported must be true or false.", param="options.drop_unsupported")
        elif name in texts:
            if not isinstance(value, str) or not 1 <= len(value) <= MAX_MODEL_NAME or not _PRINTABLE.match(value):
                raise InvalidRequest(
                    f"{name} must be a string of printable ASCII characters without spaces.", param=f"options.{name}"
                )
            if name == "preset" and value not in PRESETS:
                raise InvalidRequest(f"The presets are: {', '.join(PRESETS)}.", param="options.preset")
            if name == "anthropic_version" and not _DATE.match(value):
                raise InvalidRequest(f"{name} must be a date, as in 2023-06-01.", param=f"options.{name}")
            if name == "region" and not _REGION.match(value):
                raise InvalidRequest("region must be one of AWS's, as in eu-central-1.", param="options.region")
        elif name in others:
            _check_vertex(value)
        else:
            known = ", ".join(sorted({*texts, *others, "drop_unsupported"}))
            raise InvalidRequest(f"The family {family} has no such option. It has: {known}.", param="options")
    return dict(options)


def _check_vertex(value: Any) -> None:
    if not isinstance(value, dict) or value.keys() != _VERTEX_NAMES.keys():
        raise InvalidRequest(_VERTEX, param="options.vertex")
    for part, name in value.items():
        if not isinstance(name, str) or not _VERTEX_NAMES[part].match(name):
            raise InvalidRequest(_VERTEX, param="options.vertex")


def checked_api_key(api_key: str) -> str:
    """Return the key without the white space that comes with copying it."""
    key = api_key.strip()
    if len(key) > MAX_KEY or not _PRINTABLE.match(key):
        raise InvalidRequest(
            f"The API key must be up to {MAX_KEY} printable ASCII characters without spaces.", param="api_key"
        )
    return key


def last4(api_key: str) -> str:
    """Return what is shown of a key: its last four characters, or nothing of a short one."""
    return api_key[-4:] if len(api_key) >= _SHOWN_FROM else ""


def _refusal(origin: Origin, allowance: Allowance) -> str | None:
    address = _literal_address(origin.host)
    if address is None or allowance.allows(origin.host, origin.port, address):
        return None
    return refuse_reason(address)


def _literal_address(host: str) -> str | None:
    """Return the address that a host stands for without asking anybody; None for a name."""
    if host == "localhost" or host.endswith(".localhost"):
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not all(map(_NUMBER.match, host.split("."))):
        return None
    try:
        return socket.inet_ntoa(socket.inet_aton(host))  # 127.1, 2130706433 and 0x7f.1 are loopback to the resolver
    except OSError:
        return None
