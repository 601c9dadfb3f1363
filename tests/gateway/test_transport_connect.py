"""Reaching an upstream: names, addresses, TLS, and what is left when it fails."""

import asyncio
import datetime
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.connection import Connection
from gateway.egress import Allowance
from gateway.transport import (
    AddressRefused,
    ConnectFailed,
    ConnectionBroken,
    ConnectTimedOut,
    Origin,
    Response,
    TransportError,
)
from tests.gateway.wire import LOOPS, ScriptedResolver, Wire, ask, run_on, send, soon, transport, until, wire_server

both_loops = pytest.mark.parametrize("loop", LOOPS)


def open_sockets() -> int:
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:
            continue  # the one that listed the directory
    return sum(link.startswith("socket:") for link in links)


@contextmanager
def black_hole() -> Iterator[Origin]:
    """A port that never takes a connection: a listener whose queue is full and that accepts nobody."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    for _ in range(8):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        fillers.append(filler)
    try:
        yield Origin("http", "127.0.0.1", listener.getsockname()[1])
    finally:
        for opened in (*fillers, listener):
            opened.close()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@both_loops
def test_a_refused_connection_is_a_connect_error(loop: str) -> None:
    async def main() -> None:
        async with transport() as client:
            with pytest.raises(ConnectFailed) as caught:
                await send(client, Origin("http", "127.0.0.1", closed_port()))
            assert caught.value.error_class == "connect_error"
            assert "127.0.0.1" not in str(caught.value)
            assert client.open_connections == 0

    run_on(loop, main())


@both_loops
@pytest.mark.parametrize(("connect_timeout", "first_byte"), [(0.1, 5.0), (5.0, 0.1)])
def test_connecting_takes_no_longer_than_either_limit_and_leaves_no_socket(
    loop: str, connect_timeout: float, first_byte: float
) -> None:
    async def main() -> None:
        with black_hole() as origin:
            async with transport(connect_timeout_seconds=connect_timeout) as client:
                before, start = open_sockets(), soon(0)
                with pytest.raises(ConnectTimedOut) as caught:
                    await send(client, origin, within=first_byte)
                assert 0.09 < soon(0) - start < 1.0
                assert caught.value.error_class == "connect_timeout"
                await until(lambda: open_sockets() == before)
                assert client.open_connections == 0

    run_on(loop, main())


@both_loops
def test_a_cancelled_connect_leaves_no_socket(loop: str) -> None:
    async def main() -> None:
        with black_hole() as origin:
            async with transport() as client:
                before = open_sockets()
                task = asyncio.create_task(send(client, origin))
                await until(lambda: open_sockets() == before + 1)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await until(lambda: open_sockets() == before)

    run_on(loop, main())


@both_loops
def test_private_addresses_are_not_dialled_without_leave(loop: str) -> None:
    async def main() -> None:
        async with wire_server(Wire.hello) as server, transport(allowance=Allowance()) as client:
            for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "::ffff:127.0.0.1"):
                with pytest.raises(AddressRefused) as caught:
                    await send(client, Origin("http", host, server.origin.port))
                assert isinstance(caught.value, TransportError)
                assert caught.value.error_class == "address_refused"
            assert server.opened == 0

    run_on(loop, main())


def test_the_operators_list_opens_exactly_what_it_names() -> None:
    async def main() -> None:
        async with wire_server(Wire.hello) as one, wire_server(Wire.hello) as two:
            allowance = Allowance.parse(f"127.0.0.1:{one.origin.port}")
            async with transport(allowance=allowance) as client:
                assert await ask(client, one.origin) == b"hello"
                with pytest.raises(AddressRefused):
                    await ask(client, two.origin)
                assert two.opened == 0

    run_on("asyncio", main())


def test_a_name_that_changes_its_meaning_after_the_check_gains_nothing() -> None:
    """The classic rebinding: a public answer for the check, a private one for the dial. There is no second question."""
    resolver = ScriptedResolver(["93.184.216.34", "127.0.0.1"], ["127.0.0.1"])

    async def main() -> None:
        async with wire_server(Wire.hello) as server, transport(allowance=Allowance()) as client:
            with pytest.raises(AddressRefused):
                await send(client, Origin("http", "rebind.example", server.origin.port))
            assert (server.opened, len(resolver.answers)) == (0, 1)

    with asyncio.Runner(loop_factory=lambda: resolver) as runner:
        runner.run(main())


def test_it_dials_the_address_that_was_checked_after_one_question() -> None:
    resolver = ScriptedResolver(["127.0.0.1"], ["127.9.9.9"])

    async def main() -> None:
        async with wire_server(Wire.hello) as server, transport(allowance=Allowance.parse("127.0.0.1")) as client:
            origin = Origin("http", "once.example", server.origin.port)
            assert await ask(client, origin) == b"hello"
            assert await ask(client, origin) == b"hello"
            assert len(resolver.answers) == 1
            await client.close()

    with asyncio.Runner(loop_factory=lambda: resolver) as runner:
        runner.run(main())


def test_the_next_address_is_tried_when_one_refuses_or_is_silent() -> None:
    async def main() -> None:
        with black_hole() as hole:
            # The server listens on another loopback address, at the very port that is a black hole on 127.0.0.1.
            listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.2", hole.port)
            async with listener, transport(connect_timeout_seconds=0.6) as client:
                with pytest.raises(ConnectionBroken):  # it took the connection and closed it: it was reached
                    await send(client, Origin("http", "many.example", hole.port))

    resolver = ScriptedResolver(["127.0.0.3", "127.0.0.1", "127.0.0.2"])
    with asyncio.Runner(loop_factory=lambda: resolver) as runner:
        runner.run(main())


def test_an_unknown_name_is_a_connect_error() -> None:
    async def main() -> None:
        async with transport() as client:
            with pytest.raises(ConnectFailed, match="resolved"):
                await send(client, Origin("http", "nowhere.example", 80))

    resolver = ScriptedResolver(socket.gaierror(socket.EAI_NONAME, "nowhere"))
    with asyncio.Runner(loop_factory=lambda: resolver) as runner:
        runner.run(main())


def test_a_missing_unix_socket_is_a_connect_error(tmp_path: Path) -> None:
    async def main() -> None:
        async with transport() as client:
            with pytest.raises(ConnectFailed):
                await send(client, Origin("unix", str(tmp_path / "none.sock"), 0))

    for loop in LOOPS:
        run_on(loop, main())


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")

    async def main() -> None:
        async with wire_server(Wire.hello) as server, transport() as client:
            assert await ask(client, server.origin) == b"hello"

    run_on("asyncio", main())


@both_loops
def test_a_peer_that_closes_on_arrival_is_a_broken_connection_and_not_a_silence(loop: str) -> None:
    async def main() -> None:
        listener = await asyncio.start_server(lambda _, writer: writer.transport.abort(), "127.0.0.1", 0)
        origin = Origin("http", "127.0.0.1", listener.sockets[0].getsockname()[1])
        async with listener, transport() as client:
            for _ in range(50):
                with pytest.raises(ConnectionBroken):
                    await send(client, origin)
            assert client.open_connections == 0

    run_on(loop, main())


@both_loops
def test_a_connection_that_is_gone_before_the_request_is_sent_fails_at_once(loop: str) -> None:
    async def main() -> None:
        async with transport() as client:
            never_connected = Connection(client, Origin("http", "127.0.0.1", 1), asyncio.get_running_loop())
            with pytest.raises(ConnectionBroken) as caught:
                await Response(never_connected, head_only=False).exchange(b"GET / HTTP/1.1\r\n\r\n", by=soon(5))
            assert not caught.value.response_started

    run_on(loop, main())


# --- TLS


def certificate(folder: Path, *names: x509.GeneralName) -> tuple[ssl.SSLContext, Path]:
    """A server context with a self-signed certificate for `names`, and the file a client would trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test upstream")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, private = folder / "ca.pem", folder / "key.pem"
    trusted.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(trusted, private)
    return context, trusted


LOCALHOST = x509.DNSName("localhost")


@both_loops
def test_it_speaks_tls_and_keeps_the_connection(loop: str, tmp_path: Path) -> None:
    context, trusted = certificate(tmp_path, LOCALHOST, x509.IPAddress(ip_address("127.0.0.1")))

    async def main() -> None:
        client_context = ssl.create_default_context(cafile=str(trusted))
        async with wire_server(echo_large, tls=context) as server, transport(ssl_context=client_context) as client:
            for host in ("localhost", "127.0.0.1"):
                origin = Origin("https", host, server.origin.port)
                for _ in range(2):
                    assert await ask(client, origin, b"x" * 500_000) == b"x" * 500_000
            assert server.opened == 2

    async def echo_large(wire: Wire) -> None:
        await wire.hello(wire.body)

    run_on(loop, main())


@both_loops
@pytest.mark.parametrize("trust", [True, False])
def test_it_refuses_a_certificate_that_is_wrong_or_unknown(loop: str, trust: bool, tmp_path: Path) -> None:
    context, trusted = certificate(tmp_path, LOCALHOST)

    async def main() -> None:
        options = {"ssl_context": ssl.create_default_context(cafile=str(trusted))} if trust else {}
        async with wire_server(Wire.hello, tls=context) as server, transport(**options) as client:
            host = "127.0.0.1" if trust else "localhost"
            with pytest.raises(ConnectFailed, match="CERTIFICATE_VERIFY_FAILED") as caught:
                await ask(client, Origin("https", host, server.origin.port))
            assert host not in str(caught.value)
            assert server.requests == []
            assert client.open_connections == 0

    run_on(loop, main())


@both_loops
def test_a_server_that_speaks_no_tls_is_a_connect_error(loop: str) -> None:
    async def main() -> None:
        async def another_protocol(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-x\r\n")
            await reader.read()
            writer.close()

        listener = await asyncio.start_server(another_protocol, "127.0.0.1", 0)
        async with listener, transport() as client:
            with pytest.raises(ConnectFailed):
                await ask(client, Origin("https", "127.0.0.1", listener.sockets[0].getsockname()[1]))

    run_on(loop, main())


@both_loops
@pytest.mark.parametrize("end", ["timeout", "cancel"])
def test_a_handshake_that_hangs_ends_in_time_and_leaves_no_socket(loop: str, end: str) -> None:
    async def main() -> None:
        arrived, gone = asyncio.Event(), asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            arrived.set()
            await reader.read()
            gone.set()
            writer.close()

        before = open_sockets()
        listener = await asyncio.start_server(silent, "127.0.0.1", 0)
        origin = Origin("https", "localhost", listener.sockets[0].getsockname()[1])
        async with transport(connect_timeout_seconds=0.2 if end == "timeout" else 30.0) as client:
            task = asyncio.create_task(ask(client, origin))
            await arrived.wait()
            if end == "cancel":
                task.cancel()
            with pytest.raises(ConnectTimedOut if end == "timeout" else asyncio.CancelledError):
                await task
            await asyncio.wait_for(gone.wait(), 1.0)
        listener.close()
        await until(lambda: open_sockets() <= before)

    run_on(loop, main())


@both_loops
def test_a_cancelled_request_over_tls_reaches_the_server_as_a_hang_up(loop: str, tmp_path: Path) -> None:
    context, trusted = certificate(tmp_path, LOCALHOST)

    async def main() -> None:
        client_context = ssl.create_default_context(cafile=str(trusted))
        async with wire_server(Wire.hang, tls=context) as server, transport(ssl_context=client_context) as client:
            task = asyncio.create_task(ask(client, server.origin))
            await until(lambda: len(server.requests) == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: server.open_now == 0, within=0.25)

    run_on(loop, main())
