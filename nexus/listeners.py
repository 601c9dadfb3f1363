"""Listening sockets, bound once by whoever supervises and inherited by the processes that accept.

The queue of a socket outlives the process that reads it: a killed worker loses no connection that waits there.
"""

import errno
import socket
from pathlib import Path

BACKLOG = 4096  # connections; the kernel caps it by net.core.somaxconn


class CannotListen(Exception):
    """An address cannot be listened on; the message is one sentence that says what to do."""


def listen_on_port(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket, inheritable by descriptor."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise CannotListen(f"{host!r} is not an address of this machine ({error.strerror}): correct --host.") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotListen(_why_not(host, port, error)) from None
    return listener


def _why_not(host: str, port: int, error: OSError) -> str:
    choose = "choose another with NEXUS_PORT or --port."
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is taken by another program: stop it, or {choose}"
    if error.errno == errno.EACCES:
        return f"This user may not listen on port {port}: {choose}"
    return f"Cannot listen on {host}, port {port} ({error.strerror}): correct --host, or {choose}"


def listen_on_path(path: Path) -> socket.socket:
    """Return a listening Unix socket that only this user may connect to; a leftover of the same name is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotListen(f"Cannot listen on {path} ({error.strerror}): choose another path with --uds.") from None
    return listener


def inherited(descriptor: int) -> socket.socket:
    """Return the listening socket that the parent process has bound."""
    try:
        return socket.socket(fileno=descriptor)
    except OSError as error:
        raise CannotListen(
            f"Descriptor {descriptor} is no socket ({error.strerror}): --fd is set by a parent."
        ) from None


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nobody uses at the moment, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
