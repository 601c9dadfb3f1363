"""Base URLs and request heads."""

import pytest

from gateway.origin import Origin, encode_head, parse_base_url

API = Origin("https", "api.example.com", 443)


@pytest.mark.parametrize(
    ("url", "origin", "prefix"),
    [
        ("https://api.openai.com/v1", Origin("https", "api.openai.com", 443), "/v1"),
        ("https://api.openai.com/v1/", Origin("https", "api.openai.com", 443), "/v1"),
        ("https://api.openai.com", Origin("https", "api.openai.com", 443), ""),
        ("https://API.OpenAI.com./", Origin("https", "api.openai.com", 443), ""),
        ("http://localhost:11434/v1//", Origin("http", "localhost", 11434), "/v1"),
        ("http://[::1]:8000/a/b", Origin("http", "::1", 8000), "/a/b"),
        ("http://[0:0::1]", Origin("http", "::1", 80), ""),
        ("HTTPS://my_vllm/x", Origin("https", "my_vllm", 443), "/x"),
    ],
)
def test_it_splits_a_base_url(url: str, origin: Origin, prefix: str) -> None:
    assert parse_base_url(url) == (origin, prefix)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "printable"),
        ("api.openai.com/v1", "http://"),
        ("ftp://host/", "http://"),
        ("unix:///run/x.sock", "http://"),
        ("file:///etc/passwd", "http://"),
        ("//host/v1", "http://"),
        ("https://", "needs a host"),
        ("https:///v1", "needs a host"),
        ("https://user:secret@host/", "user name"),
        ("https://@host/", "user name"),
        ("https://host/?a=b", "query"),
        ("https://host/?", "query"),
        ("https://host/#f", "query"),
        ("https://host/ v1", "printable"),
        ("https://host/\r\nx: y", "printable"),
        ("https://ho\tst/", "printable"),
        ("https://host/\0", "printable"),
        ("https://host\\@evil/", "printable"),
        ("https://\uff4cocalhost/", "printable"),
        ("https://host:0/", "port"),
        ("https://host:65536/", "port"),
        ("https://host:x/", "port"),
        ("https://host:/", "port"),
        ("https://host:-1/", "port"),
        ("https://ho%73t/", "needs a host"),
        ("https://a..b/", "needs a host"),
        ("https://-a-/", "needs a host"),
        ("https://" + "a" * 64 + ".example/", "needs a host"),
        ("https://[fe80::1%25eth0]/", "host"),
        ("https://[::1/", "host"),
        ("https://[v1.x]/", "host"),
    ],
)
def test_it_refuses_a_base_url_with_a_sentence_that_does_not_repeat_it(url: str, word: str) -> None:
    with pytest.raises(ValueError, match=word) as caught:
        parse_base_url(url)
    assert str(caught.value).endswith(".")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("origin", "value"),
    [
        (Origin("http", "a.example", 80), b"a.example"),
        (Origin("https", "a.example", 443), b"a.example"),
        (Origin("http", "a.example", 443), b"a.example:443"),
        (Origin("http", "::1", 80), b"[::1]"),
        (Origin("https", "::1", 8443), b"[::1]:8443"),
        (Origin("unix", "/run/console.sock", 0), b"localhost"),
    ],
)
def test_the_host_header_names_the_port_only_where_it_is_unusual(origin: Origin, value: bytes) -> None:
    assert origin.host_header == value


def test_a_head_is_the_request_line_the_headers_and_a_blank_line() -> None:
    head = encode_head(b"POST", b"/v1/x?a=b", API, ((b"authorization", b"Bearer k"), (b"x-empty", b"")), 12)
    assert head == (
        b"POST /v1/x?a=b HTTP/1.1\r\nhost: api.example.com\r\nauthorization: Bearer k\r\nx-empty: \r\n"
        b"content-length: 12\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "length", "written"),
    [(b"GET", 0, False), (b"HEAD", 0, False), (b"POST", 0, True), (b"DELETE", 3, True)],
)
def test_a_length_is_written_where_a_body_is_or_could_be(method: bytes, length: int, written: bool) -> None:
    assert (b"content-length" in encode_head(method, b"/", API, (), length)) is written


@pytest.mark.parametrize("bad", [b"a\r\nx: y", b"a\nb", b"a\rb", b"a\0b", b"\r\n\r\nGET / HTTP/1.1"])
def test_line_breaks_do_not_get_into_a_head(bad: bytes) -> None:
    with pytest.raises(ValueError, match="line breaks"):
        encode_head(b"GET", b"/", API, ((b"x", bad),), 0)
    with pytest.raises(ValueError, match="line breaks"):
        encode_head(b"GET", b"/", API, ((bad, b"x"),), 0)
    with pytest.raises(ValueError, match="line breaks"):
        encode_head(bad, b"/", API, (), 0)
    with pytest.raises(ValueError, match="path"):
        encode_head(b"GET", b"/" + bad, API, (), 0)


@pytest.mark.parametrize("path", [b"", b"/a b", b"/\x7f", b"/\t"])
def test_it_refuses_a_path_that_is_no_request_target(path: bytes) -> None:
    with pytest.raises(ValueError, match="path"):
        encode_head(b"GET", path, API, (), 0)


@pytest.mark.parametrize("name", [b"host", b"Content-Length", b"TRANSFER-ENCODING"])
def test_headers_that_frame_the_message_are_the_transports_own(name: bytes) -> None:
    with pytest.raises(ValueError, match="written by the transport"):
        encode_head(b"POST", b"/", API, ((name, b"5"),), 5)
