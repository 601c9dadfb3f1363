"""Which addresses the gateway may dial.

A provider's base URL is typed by a tenant, so it may point at anything: at this machine, at the cloud's metadata
service, at the neighbours. Names are resolved once, at connect time, and every address is judged; the caller dials
an address from the answer, so that a name cannot change its meaning between the check and the call. Only the operator
can widen the rules, by `NEXUS_ALLOW_PRIVATE_PROVIDERS`.
"""

import asyncio
import ipaddress
import re
import socket
from dataclasses import dataclass

from gateway.transport_errors import AddressRefused

type Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SETTING = "NEXUS_ALLOW_PRIVATE_PROVIDERS"

_NOTHING = frozenset({"", "false", "0", "no", "off"})
_EVERYTHING = frozenset({"true", "1", "yes", "on"})
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\Z")

# Written out rather than asked of `ipaddress.is_global`, whose answer differs between Python versions and lets NAT64,
# 6to4 and Teredo through, each of which carries an IPv4 address that nobody has checked. First match wins.
_REFUSED: tuple[tuple[Network, str], ...] = tuple(
    (ipaddress.ip_network(network), reason)
    for network, reason in (
        ("169.254.169.254/32", "a cloud metadata service"),
        ("169.254.170.0/24", "a cloud metadata service"),
        ("168.63.129.16/32", "a cloud metadata service"),  # Azure's: a public address, reachable from inside only
        ("100.100.100.200/32", "a cloud metadata service"),
        ("192.0.0.192/32", "a cloud metadata service"),
        ("0.0.0.0/8", "an unspecified address"),
        ("10.0.0.0/8", "a private address"),
        ("100.64.0.0/10", "a shared (carrier NAT) address"),
        ("127.0.0.0/8", "a loopback address"),
        ("169.254.0.0/16", "a link-local address"),
        ("172.16.0.0/12", "a private address"),
        ("192.0.0.0/24", "a reserved address"),
        ("192.0.2.0/24", "a documentation address"),
        ("192.88.99.0/24", "a reserved address"),
        ("192.168.0.0/16", "a private address"),
        ("198.18.0.0/15", "a benchmarking address"),
        ("198.51.100.0/24", "a documentation address"),
        ("203.0.113.0/24", "a documentation address"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved address"),
        ("fd00:ec2::/32", "a cloud metadata service"),
        ("fd20:ce::254/128", "a cloud metadata service"),
        ("::/128", "an unspecified address"),
        ("::1/128", "a loopback address"),
        ("::ffff:0:0/96", "an IPv4 address inside IPv6 (mapped)"),
        ("::/96", "an IPv4 address inside IPv6 (compatible)"),
        ("64:ff9b::/96", "an IPv4 address inside IPv6 (NAT64)"),
        ("64:ff9b:1::/48", "an IPv4 address inside IPv6 (NAT64)"),
        ("2002::/16", "an IPv4 address inside IPv6 (6to4)"),
        ("2001::/32", "an IPv4 address inside IPv6 (Teredo)"),
        ("2001::/23", "a reserved address"),
        ("2001:db8::/32", "a documentation address"),
        ("3fff::/20", "a documentation address"),
        ("fc00::/7", "a private address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a private address"),
        ("ff00::/8", "a multicast address"),
    )
)
_GLOBAL_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")


@dataclass(frozen=True, slots=True)
class Allowance:
    """The hosts and networks, each with a port or any (None), that the operator allows against the rules."""

    everything: bool = False
    hosts: frozenset[tuple[str, int | None]] = frozenset()
    networks: tuple[tuple[Network, int | None], ...] = ()

    @classmethod
    def parse(cls, value: str) -> "Allowance":
        """Read the setting: no/yes words, or a comma list of hostnames, IPs and CIDRs, each with an optional :port.

        Raises ValueError with one sentence that names the setting.
        """
        word = value.strip().lower()
        if word in _NOTHING:
            return cls()
        if word in _EVERYTHING:
            return cls(everything=True)
        hosts: set[tuple[str, int | None]] = set()
        networks: list[tuple[Network, int | None]] = []
        for item in word.split(","):
            target, port = _split_port(item.strip())
            if isinstance(target, str):
                hosts.add((target, port))
            else:
                networks.append((target, port))
        return cls(hosts=frozenset(hosts), networks=tuple(networks))

    def allows(self, host: str, port: int, address: str) -> bool:
        """Whether the operator allows `address`, which `host` resolved to, on `port`."""
        if self.everything:
            return True
        name = host.lower().rstrip(".")
        if (name, port) in self.hosts or (name, None) in self.hosts:
            return True
        ip = ipaddress.ip_address(address.partition("%")[0])
        return any(ip in network and (only is None or only == port) for network, only in self.networks)


def _split_port(item: str) -> tuple[str | Network, int | None]:
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::([0-9]+))?", item)
    if bracketed:
        target, digits = bracketed.group(1), bracketed.group(2)
        if ":" not in target:
            raise _malformed(item)
    elif item.count(":") == 1:
        target, _, digits = item.partition(":")
        if not digits:
            raise _malformed(item)
    else:
        target, digits = item, None  # two colons and more without brackets: an IPv6 address or network
    return _host_or_network(target, item), _port(digits, item)


def _port(digits: str | None, item: str) -> int | None:
    if digits is None:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", digits) or not 1 <= int(digits) <= 65535:
        raise _malformed(item)
    return int(digits)


def _host_or_network(target: str, item: str) -> str | Network:
    try:
        return ipaddress.ip_network(target)
    except ValueError:
        # A mistyped address must not pass for a name that never matches: names do not end in a number.
        name = target.rstrip(".")
        if not _HOST_NAME.match(name) or name.rpartition(".")[2].isdigit():
            raise _malformed(item) from None
        return name


def _malformed(item: str) -> ValueError:
    return ValueError(
        f"{SETTING} must be true, false or a comma-separated list of hostnames, IP addresses or CIDR networks, "
        f"each with an optional :port, and {item!r} is none of these."
    )


def refuse_reason(address: str) -> str | None:
    """Why an IP address must not be dialled, in words, or None when it is an ordinary public one."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "not an IP address"
    for network, reason in _REFUSED:
        if ip in network:
            return reason
    if ip.version == 6 and ip not in _GLOBAL_UNICAST_V6:
        return "a reserved address"
    return None


async def resolve(host: str, port: int, allowance: Allowance) -> list[str]:
    """The addresses of `host`, in the resolver's order, all of them checked.

    One refused address refuses the host: a name with a public and a private address is how DNS rebinding looks.
    Raises AddressRefused, or OSError (socket.gaierror) when the name has no address.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
    for address in addresses:
        reason = refuse_reason(address)
        if reason is not None and not allowance.allows(host, port, address):
            raise AddressRefused(host, reason)
    return addresses
