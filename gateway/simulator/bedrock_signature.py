"""Who asks: Signature Version 4, verified as AWS verifies it, or a Bedrock API key.

The signature is computed here once more, independently of the gateway's own signer.
"""

import calendar
import hashlib
import hmac
import time
from urllib.parse import quote

from gateway.simulator.bedrock_errors import SIGNATURE_MISMATCH, forbidden
from gateway.simulator.dialect import Refused, Request

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "bedrock"
SKEW_SECONDS = 5 * 60
# The key pair of AWS's documentation. A simulator that takes any key cannot know its secret, but it knows this one's.
KNOWN_SECRETS = {"AKIAIOSFODNN7EXAMPLE": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
_PARTS = ("Credential", "SignedHeaders", "Signature")


def authenticate(request: Request, api_key: str) -> None:
    """Check a signature made with the secret access key, or that the API key is it. Raises Refused."""
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    if not scheme:
        raise forbidden("MissingAuthenticationTokenException", "Missing Authentication Token")
    if scheme == "Bearer":
        if not rest or (api_key and rest != api_key):
            raise forbidden("AccessDeniedException", "Authentication failed: Please make sure your API Key is valid.")
        return
    if scheme != ALGORITHM:
        raise _incomplete(f"Unsupported AWS 'algorithm': '{scheme}'.")
    _verify(request, _parts(rest), api_key)


def check_time(request: Request, now: int) -> None:
    """Refuse a signature that is older, or younger, than AWS allows. Raises Refused."""
    moment = request.headers.get("x-amz-date")
    if moment is None or not request.headers.get("authorization", "").startswith(ALGORITHM):
        return
    signed_at = calendar.timegm(time.strptime(moment, "%Y%m%dT%H%M%SZ"))
    if abs(now - signed_at) <= SKEW_SECONDS:
        return
    what, edge = ("expired", now - SKEW_SECONDS) if signed_at < now else ("not yet current", now + SKEW_SECONDS)
    limit = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(edge))
    than = "earlier" if signed_at < now else "later"
    raise forbidden("InvalidSignatureException", f"Signature {what}: {moment} is now {than} than {limit}")


def _parts(text: str) -> dict[str, str]:
    found = dict(part.strip().partition("=")[::2] for part in text.split(","))
    for name in _PARTS:
        if not found.get(name):
            raise _incomplete(f"Authorization header requires '{name}' parameter.")
    return found


def _verify(request: Request, parts: dict[str, str], api_key: str) -> None:
    access_key_id, *scope = parts["Credential"].split("/")
    moment = request.headers.get("x-amz-date", "")
    try:
        time.strptime(moment, "%Y%m%dT%H%M%SZ")
    except ValueError:
        raise _incomplete(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        ) from None
    if len(scope) != 4 or scope[3] != "aws4_request" or not access_key_id:
        raise _incomplete(f"Credential must have exactly 5 slash-delimited elements, got '{parts['Credential']}'.")
    if scope[0] != moment[:8]:
        raise _invalid(f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date: {moment}")
    if not scope[1]:
        raise _invalid("Credential should be scoped to a valid region.")
    if scope[2] != SERVICE:
        raise _invalid(f"Credential should be scoped to correct service: '{SERVICE}'.")
    signed = parts["SignedHeaders"].split(";")
    must = {"host", *(name for name in request.headers if name.startswith("x-amz-"))}
    if not must <= set(signed) or signed != sorted(signed):
        raise _invalid("There were headers present in the request which were not signed.")
    secret = api_key or KNOWN_SECRETS.get(access_key_id)
    if secret is None:
        return
    expected = _signature(request, signed, moment, scope, secret)
    if not hmac.compare_digest(expected, parts["Signature"]):
        raise _invalid(SIGNATURE_MISMATCH)


def _signature(request: Request, signed: list[str], moment: str, scope: list[str], secret: str) -> str:
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in signed)
    query = "&".join(sorted(request.query.split("&")))
    canonical = (
        f"{request.method}\n{quote(request.raw_path, safe='/~')}\n{query}\n{headers}\n{';'.join(signed)}\n"
        f"{hashlib.sha256(request.body).hexdigest()}"
    )
    to_sign = f"{ALGORITHM}\n{moment}\n{'/'.join(scope)}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = b"AWS4" + secret.encode()
    for part in (*scope, to_sign):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()


def _incomplete(message: str) -> Refused:
    return forbidden("IncompleteSignatureException", message)


def _invalid(message: str) -> Refused:
    return forbidden("InvalidSignatureException", message)
