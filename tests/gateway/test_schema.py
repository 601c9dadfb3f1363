"""Request bodies: what is refused, with the member at fault, and what passes."""

import pytest

from gateway.schema import Endpoint, parse
from nexus.errors import InvalidRequest


@pytest.mark.parametrize(
    ("endpoint", "body", "param"),
    [
        (Endpoint.CHAT, b"{}", "model"),
        (Endpoint.CHAT, b'{"model": 1, "messages": [{}]}', "model"),
        (Endpoint.CHAT, b'{"model": "", "messages": [{}]}', "model"),
        (Endpoint.CHAT, b'{"model": "m"}', "messages"),
        (Endpoint.CHAT, b'{"model": "m", "messages": []}', "messages"),
        (Endpoint.CHAT, b'{"model": "m", "messages": "hi"}', "messages"),
        (Endpoint.CHAT, b'{"model": "m", "messages": [{}], "stream": "yes"}', "stream"),
        (Endpoint.CHAT, b'{"model": "m", "messages": [{}], "stream_options": 1}', "stream_options"),
        (Endpoint.COMPLETIONS, b'{"model": "m"}', "prompt"),
        (Endpoint.EMBEDDINGS, b'{"model": "m"}', "input"),
        (Endpoint.CHAT, b"", None),
        (Endpoint.CHAT, b"[]", None),
        (Endpoint.CHAT, b'{"model": "m", "messages": [', None),
        (Endpoint.CHAT, b"\xff\xfe{}", None),
        (Endpoint.CHAT, b"[" * 100_000, None),
        (Endpoint.CHAT, b'{"model": "m", "messages": [' + b"[" * 100_000, None),
        (Endpoint.CHAT, b'{"model": "m", "messages": [NaN]}', None),
    ],
)
def test_a_malformed_body_is_refused_by_name(endpoint: Endpoint, body: bytes, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(endpoint, body)
    assert refused.value.param == param
    assert refused.value.status == 400


def test_unknown_members_are_none_of_our_business() -> None:
    request = parse(Endpoint.CHAT, b'{"model": "m", "messages": [{}], "mystery": {"deep": [1]}, "stream": null}')
    assert request.model == "m"
    assert request.stream is False


def test_embeddings_are_never_streamed() -> None:
    assert parse(Endpoint.EMBEDDINGS, b'{"model": "m", "input": "x", "stream": true}').stream is False
