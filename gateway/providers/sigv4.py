"""Signature Version 4, by which AWS knows who asks: pure, with the time and the host passed in.

Wire facts: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
import time
from dataclasses import dataclass, field
from urllib.parse import quote

from gateway.providers.base import Headers, UpstreamRequest

_ALGORITHM = "AWS4-HMAC-SHA256"
_SIGNED = ("content-type", "host", "x-amz-date")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key derived from a secret access key: good for one day, region and service."""

    access_key_id: str
    scope: str  # date/region/service/aws4_request
    key: bytes = field(repr=False)

    @property
    def date(self) -> str:
        """The day, as `amz_date` begins."""
        return self.scope[:8]


def signing_key(access_key_id: str, secret_access_key: str, *, date: str, region: str, service: str) -> SigningKey:
    """Derive the key of a day, which is `YYYYMMDD`."""
    key = f"AWS4{secret_access_key}".encode()
    parts = (date, region, service, "aws4_request")
    for part in parts:
        key = hmac.digest(key, part.encode(), "sha256")
    return SigningKey(access_key_id, "/".join(parts), key)


def amz_date(now: float) -> str:
    """Return seconds since the epoch as AWS writes a time: `20261125T190000Z`."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))


def signature_headers(
    request: UpstreamRequest, key: SigningKey, *, host: bytes, moment: str, method: bytes = b"POST"
) -> Headers:
    """Return the headers that sign a request: `x-amz-date` and `authorization`. `moment` is an `amz_date` of the day.

    Content type, host and date are signed, and the whole body; other headers may change on their way.
    """
    path, _, query = request.path.decode().partition("?")
    values = {"host": host.decode(), "x-amz-date": moment}
    values |= {name.decode(): value.decode() for name, value in request.headers if name == b"content-type"}
    names = [name for name in _SIGNED if name in values]
    canonical = "\n".join(
        (
            method.decode(),
            quote(path, safe="/~"),  # it is encoded already, and AWS wants it encoded once more
            "&".join(sorted(query.split("&"))),
            *(f"{name}:{' '.join(values[name].split())}" for name in names),
            "",
            ";".join(names),
            hashlib.sha256(request.body).hexdigest(),
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    signature = hmac.digest(key.key, "\n".join((_ALGORITHM, moment, key.scope, digest)).encode(), "sha256").hex()
    credential = f"{key.access_key_id}/{key.scope}"
    authorization = f"{_ALGORITHM} Credential={credential}, SignedHeaders={';'.join(names)}, Signature={signature}"
    return ((b"x-amz-date", moment.encode()), (b"authorization", authorization.encode()))
