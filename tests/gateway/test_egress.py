"""Which addresses may be dialled, and what the operator's setting changes."""

import asyncio
import socket

import pytest

from gateway.egress import Allowance, refuse_reason, resolve
from gateway.transport_errors import AddressRefused, TransportError
from tests.gateway.wire import ScriptedResolver

REFUSED = [
    ("127.0.0.1", "loopback"),
    ("127.8.9.10", "loopback"),
    ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "unspecified"),
    ("10.0.0.1", "private"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.168.1.1", "private"),
    ("100.64.0.1", "carrier"),
    ("100.127.255.255", "carrier"),
    ("169.254.169.254", "metadata"),
    ("169.254.170.2", "metadata"),
    ("168.63.129.16", "metadata"),
    ("100.100.100.200", "metadata"),
    ("192.0.0.192", "metadata"),
    ("169.254.1.1", "link-local"),
    ("192.0.2.1", "documentation"),
    ("198.18.0.1", "benchmarking"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "reserved"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::7f00:1", "inside IPv6"),
    ("::ffff:127.0.0.1", "inside IPv6"),
    ("::ffff:8.8.8.8", "inside IPv6"),
    ("64:ff9b::7f00:1", "NAT64"),
    ("64:ff9b::808:808", "NAT64"),
    ("64:ff9b:1::a00:1", "NAT64"),
    ("2002:7f00:1::1", "6to4"),
    ("2001::7f00:1", "Teredo"),
    ("2001:db8::1", "documentation"),
    ("3fff::1", "documentation"),
    ("fc00::1", "private"),
    ("fd12:3456::1", "private"),
    ("fd00:ec2::254", "metadata"),
    ("fe80::1", "link-local"),
    ("fe80::1%eth0", "link-local"),
    ("fec0::1", "private"),
    ("ff02::1", "multicast"),
    ("100::1", "reserved"),
    ("5f00::1", "reserved"),
    ("4000::1", "reserved"),
    ("not-an-address", "not an IP address"),
]

# What inet_aton and friends take for 127.0.0.1, 10.0.0.1 or 169.254.169.254.
ENCODED = [
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "017700000001",
    "0177.0.0.1",
    "0177.1",
    "0",
    "0x0",
    "10.1",
    "167772161",
    "0xa.0.0.1",
    "012.0.0.1",
    "2852039166",
    "0xa9fea9fe",
    "0xA9.0xFE.0xA9.0xFE",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.16689662",
    "localhost",
    "LOCALHOST",
    "::1",
    "0:0:0:0:0:0:0:1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "64:ff9b::127.0.0.1",
    "2002:7f00:0001::",
]


def resolve_to(allowance: Allowance, *addresses: str, host: str = "api.example.com", port: int = 443) -> list[str]:
    with asyncio.Runner(loop_factory=lambda: ScriptedResolver(list(addresses))) as runner:
        return runner.run(resolve(host, port, allowance))


@pytest.mark.parametrize(("address", "word"), REFUSED)
def test_it_refuses_every_address_that_is_not_public(address: str, word: str) -> None:
    assert word in (refuse_reason(address) or "")


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "172.15.255.255",
        "172.32.0.1",
        "100.63.0.1",
        "100.128.0.1",
        "2606:4700::1111",
        "2a00:1450::1",
    ],
)
def test_it_lets_public_addresses_pass(address: str) -> None:
    assert refuse_reason(address) is None


@pytest.mark.parametrize("host", ENCODED)
def test_no_spelling_of_a_private_address_gets_through_the_real_resolver(host: str) -> None:
    with pytest.raises(AddressRefused):
        asyncio.run(resolve(host, 80, Allowance()))


def test_one_private_address_among_public_ones_refuses_the_host() -> None:
    with pytest.raises(AddressRefused, match="loopback"):
        resolve_to(Allowance(), "93.184.216.34", "127.0.0.1")
    with pytest.raises(AddressRefused, match="private"):
        resolve_to(Allowance(), "2606:4700::1111", "10.0.0.7", "93.184.216.34")


def test_it_keeps_both_families_in_the_order_of_the_answer_without_repeats() -> None:
    found = resolve_to(Allowance(), "2606:4700::1111", "1.1.1.1", "2606:4700::1111")
    assert found == ["2606:4700::1111", "1.1.1.1"]


def test_a_name_without_addresses_is_a_resolver_error() -> None:
    with pytest.raises(socket.gaierror):
        resolve_to(Allowance())


def test_the_refusal_tells_the_operator_what_to_set_and_does_not_name_the_host() -> None:
    with pytest.raises(AddressRefused) as caught:
        resolve_to(Allowance(), "10.0.0.1", host="secret-host.example")
    assert "NEXUS_ALLOW_PRIVATE_PROVIDERS" in str(caught.value)
    assert "secret-host" not in str(caught.value)
    assert isinstance(caught.value, TransportError)
    assert caught.value.error_class == "address_refused"
    assert caught.value.host == "secret-host.example"


@pytest.mark.parametrize("value", ["", " ", "false", "False", "0", "no", "OFF"])
def test_nothing_is_allowed_by_default(value: str) -> None:
    assert Allowance.parse(value) == Allowance()
    assert not Allowance.parse(value).allows("localhost", 80, "127.0.0.1")


@pytest.mark.parametrize("value", ["true", "TRUE", "1", "yes", " on "])
def test_a_yes_allows_every_address(value: str) -> None:
    assert resolve_to(Allowance.parse(value), "169.254.169.254") == ["169.254.169.254"]


@pytest.mark.parametrize(
    ("value", "host", "port", "address", "allowed"),
    [
        ("ollama", "ollama", 11434, "10.0.0.5", True),
        ("ollama", "OLLAMA.", 11434, "10.0.0.5", True),
        ("ollama", "evil-ollama", 11434, "10.0.0.5", False),
        ("ollama", "ollama.evil.example", 11434, "10.0.0.5", False),
        ("Ollama:11434", "ollama", 11434, "10.0.0.5", True),
        ("ollama:11434", "ollama", 5432, "10.0.0.5", False),
        ("10.0.0.5", "vllm", 80, "10.0.0.5", True),
        ("10.0.0.5", "vllm", 80, "10.0.0.6", False),
        ("10.0.0.5:8000", "vllm", 8000, "10.0.0.5", True),
        ("10.0.0.5:8000", "vllm", 22, "10.0.0.5", False),
        ("10.1.0.0/16", "vllm", 80, "10.1.2.3", True),
        ("10.1.0.0/16", "vllm", 80, "10.2.2.3", False),
        ("10.1.0.0/16:8000", "vllm", 8000, "10.1.2.3", True),
        ("10.1.0.0/16:8000", "vllm", 8001, "10.1.2.3", False),
        ("10.0.0.0/8", "vllm", 80, "::ffff:10.0.0.1", False),
        ("::1", "localhost", 80, "::1", True),
        ("::1", "localhost", 80, "127.0.0.1", False),
        ("[::1]:8000", "localhost", 8000, "::1", True),
        ("[::1]:8000", "localhost", 8001, "::1", False),
        ("fd00::/8", "vllm", 80, "fd12::1", True),
        ("[fd00::/8]:80", "vllm", 81, "fd12::1", False),
        ("a.example, 10.0.0.0/8 ,b.example:1", "x", 80, "10.9.9.9", True),
    ],
)
def test_the_list_allows_what_it_names_and_no_more(
    value: str, host: str, port: int, address: str, allowed: bool
) -> None:
    assert Allowance.parse(value).allows(host, port, address) is allowed


def test_all_addresses_of_a_host_must_be_public_or_allowed() -> None:
    allowance = Allowance.parse("10.0.0.0/8")
    assert resolve_to(allowance, "10.0.0.5", "1.1.1.1") == ["10.0.0.5", "1.1.1.1"]
    with pytest.raises(AddressRefused, match="metadata"):
        resolve_to(allowance, "10.0.0.5", "169.254.169.254")


@pytest.mark.parametrize(
    "value",
    [
        "maybe not",
        "host:",
        "host:0",
        "host:65536",
        "host:x",
        "host:-1",
        "a,,b",
        "a,",
        "10.0.0.0/33",
        "10.0.0.1/8",
        "10.0.0.256",
        "10.0.0",
        "*.internal",
        "http://host",
        "host/path",
        "[::1",
        "[::1]:",
        "[::1]x",
        "[10.0.0.1]:80",
        "::1::2",
        "-bad-",
        "a..b",
        "user@host",
    ],
)
def test_a_malformed_list_is_one_sentence_that_names_the_setting(value: str) -> None:
    with pytest.raises(ValueError, match=r"^NEXUS_ALLOW_PRIVATE_PROVIDERS must be [^\n]+\.$"):
        Allowance.parse(value)
