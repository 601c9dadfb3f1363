"""Signature Version 4: AWS's own signer is the oracle."""

from datetime import UTC, datetime
from unittest.mock import patch

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.base import UpstreamRequest
from gateway.providers.sigv4 import amz_date, signature_headers, signing_key

ACCESS_KEY_ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
PATH_CHARACTERS = "abcXYZ0123456789-._~/%:"
times = st.integers(1_000_000_000, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


def ours(request: UpstreamRequest, moment: datetime, *, region: str, host: str, method: str) -> dict[str, str]:
    written = amz_date(moment.timestamp())
    key = signing_key(ACCESS_KEY_ID, SECRET, date=written[:8], region=region, service="bedrock")
    headers = signature_headers(request, key, host=host.encode(), moment=written, method=method.encode())
    return {name.decode(): value.decode() for name, value in headers}


def botocores(request: UpstreamRequest, moment: datetime, *, region: str, host: str, method: str) -> dict[str, str]:
    headers = {name.decode(): value.decode() for name, value in request.headers if name == b"content-type"}
    theirs = AWSRequest(method, f"https://{host}{request.path.decode()}", headers, request.body)
    with patch.object(botocore.auth, "get_current_datetime", lambda: moment):
        botocore.auth.SigV4Auth(Credentials(ACCESS_KEY_ID, SECRET), "bedrock", region).add_auth(theirs)
    return {name.lower(): theirs.headers[name] for name in ("X-Amz-Date", "Authorization")}


@given(
    model=st.text(PATH_CHARACTERS.replace("/", ""), min_size=1).filter(lambda text: not text.startswith(".")),
    body=st.binary(max_size=200),
    moment=times,
    region=st.sampled_from(["us-east-1", "eu-central-1", "us-gov-west-1"]),
    host=st.sampled_from(["bedrock-runtime.us-east-1.amazonaws.com", "127.0.0.1:8443", "[::1]:8443"]),
)
def test_a_posted_body_is_signed_as_botocore_signs_it(
    model: str, body: bytes, moment: datetime, region: str, host: str
) -> None:
    headers = ((b"content-type", b"application/json"), (b"accept", b"*/*"), (b"user-agent", b"nexus"))
    request = UpstreamRequest(f"/model/{model}/converse".encode(), headers, body)
    where = {"region": region, "host": host, "method": "POST"}
    assert ours(request, moment, **where) == botocores(request, moment, **where)


@given(query=st.sampled_from(["", "?a=1", "?b=2&a=1", "?byProvider=Amazon&byOutputModality=TEXT"]), moment=times)
def test_a_query_is_signed_in_its_order(query: str, moment: datetime) -> None:
    request = UpstreamRequest(f"/foundation-models{query}".encode(), (), b"")
    where = {"region": "us-east-1", "host": "bedrock.us-east-1.amazonaws.com", "method": "GET"}
    assert ours(request, moment, **where) == botocores(request, moment, **where)


def test_a_key_is_good_for_its_day() -> None:
    key = signing_key(ACCESS_KEY_ID, SECRET, date="20261125", region="us-east-1", service="bedrock")
    assert key.date == "20261125"
    assert key.scope == "20261125/us-east-1/bedrock/aws4_request"
    assert repr(key.key) not in repr(key)
