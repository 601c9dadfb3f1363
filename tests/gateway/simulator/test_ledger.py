"""The simulator's log and counters tell the truth: they are the oracle of other tests."""

import hashlib
import socket
import struct
import time
from typing import Any

import httpx
import pytest

from gateway.simulator.ledger import fingerprint
from tests.gateway.simulator.asking import ask, dial, raw_request, read_to_end
from tests.stack import eventually
from tests.upstream import Upstream


def last_when_over(upstream: Upstream) -> dict[str, Any]:
    eventually(lambda: upstream.stats()["in_flight"] == 0, seconds=6, what="the end of the exchange")
    entry: dict[str, Any] = upstream.log()[-1]
    return entry


def test_the_log_shows_what_was_asked_but_no_credential(upstream: Upstream) -> None:
    ask(upstream, user="ada", headers={"authorization": "Bearer sk-very-secret", "x-other": "1"})
    entry = last_when_over(upstream)
    assert (entry["method"], entry["path"], entry["model"], entry["stream"]) == (
        *("POST", "/v1/chat/completions", "gpt-4o", False),
    )
    assert entry["body"]["user"] == "ada"
    assert entry["headers"]["x-other"] == "1"
    assert entry["headers"]["authorization"] == f"Bearer {fingerprint('sk-very-secret')}"
    assert fingerprint("sk-very-secret") == f"sha256:{hashlib.sha256(b'sk-very-secret').hexdigest()[:12]}"
    assert "sk-very-secret" not in str(entry)
    assert (entry["status"], entry["fate"], entry["events"]) == (200, "completed", 1)


@pytest.mark.parametrize("stream", [False, True])
def test_every_byte_is_counted(upstream: Upstream, stream: bool) -> None:
    with dial(upstream) as link:
        link.sendall(raw_request(fault="close", stream=stream))
        data, _ = read_to_end(link)
    entry = last_when_over(upstream)
    assert entry["bytes_sent"] == len(data)
    assert entry["fate"] == "completed"
    assert entry["events"] == (8 if stream else 1)
    assert entry["fault"] == "close"


@pytest.mark.parametrize(("fault", "events"), [("hang", 0), ("stall_headers", 0), ("stall@3", 2), ("latency=60000", 0)])
@pytest.mark.parametrize("abrupt", [False, True])
def test_a_client_that_leaves_is_noticed_at_once(upstream: Upstream, fault: str, events: int, abrupt: bool) -> None:
    with dial(upstream) as link:
        link.sendall(raw_request(fault=fault, stream=True))
        eventually(lambda: upstream.stats()["in_flight"] == 1, what="the request")
        eventually(lambda: upstream.log()[-1]["events"] == events, what="the events before the silence")
        if abrupt:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        left_at = time.time()
    entry = last_when_over(upstream)
    assert (entry["fate"], entry["events"]) == ("client_gone", events)
    noticed_at = entry["at"] + entry["seconds"]
    assert -0.05 < noticed_at - left_at < 0.25
    assert upstream.stats()["client_gone"] == 1
    assert upstream.stats()["completed"] == 0


def test_a_client_that_leaves_in_mid_stream_is_placed(upstream: Upstream) -> None:
    with dial(upstream) as link:
        link.sendall(raw_request(fault="drip=30", stream=True, text="many words " * 100))
        data = b""
        while data.count(b"data: ") < 4:
            data += link.recv(65536)
    entry = last_when_over(upstream)
    assert entry["fate"] == "client_gone"
    assert 4 <= entry["events"] <= 8
    assert entry["bytes_sent"] >= len(data)


def test_a_client_that_does_not_read_is_still_being_answered(upstream: Upstream) -> None:
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.connect(("127.0.0.1", upstream.port))
        link.sendall(raw_request(fault="giant", stream=True, text="x" * 8_000_000))
        eventually(lambda: upstream.log() and upstream.log()[-1]["events"] > 0, what="the first events")
        assert upstream.stats()["in_flight"] == 1
    assert last_when_over(upstream)["fate"] == "client_gone"


def test_requests_on_one_connection_are_answered_in_order(upstream: Upstream) -> None:
    with dial(upstream) as link:
        link.sendall(raw_request(text="one") + raw_request(fault="latency=30", text="two") + raw_request(fault="close"))
        data, _ = read_to_end(link)
    assert data.index(b"You said: one") < data.index(b"You said: two") < data.index(b"You said: Hello there")
    stats = upstream.stats()
    assert (stats["requests"], stats["completed"], stats["connections_accepted"]) == (3, 3, 1)


def test_half_a_request_is_none(upstream: Upstream) -> None:
    with dial(upstream) as link:
        link.sendall(raw_request()[:-5])
        eventually(lambda: upstream.stats()["open_connections"] == 1, what="the connection")
    eventually(lambda: upstream.stats()["open_connections"] == 0, what="the end of the connection")
    assert upstream.stats()["requests"] == 0
    assert upstream.stats()["connections_accepted"] == 1


def test_the_control_api_is_not_counted(upstream: Upstream) -> None:
    control = f"{upstream.origin}/_sim"
    loaded = httpx.put(f"{control}/script", json={"steps": ["status=503"], "repeat": True})
    assert loaded.json() == {"steps": 1}
    assert ask(upstream).status_code == 503
    assert [entry["status"] for entry in httpx.get(f"{control}/log").json()["requests"]] == [503]
    stats = httpx.get(f"{control}/stats").json()
    assert (stats["requests"], stats["connections_accepted"], stats["in_flight"]) == (1, 1, 0)
    assert httpx.delete(f"{control}/log").status_code == 200
    stats = httpx.get(f"{control}/stats").json()
    assert (stats["requests"], stats["completed"], stats["script_steps_left"]) == (0, 0, 0)
    assert ask(upstream).status_code == 200


def test_a_bad_script_changes_nothing(upstream: Upstream) -> None:
    upstream.script("status=503")
    refused = httpx.put(f"{upstream.origin}/_sim/script", json={"steps": ["explode"]})
    assert refused.status_code == 400
    assert "explode" in refused.json()["error"]
    assert ask(upstream).status_code == 503


def test_the_log_forgets_the_oldest_and_says_so() -> None:
    with Upstream(log_limit=2) as upstream:
        for text in ("one", "two", "three"):
            ask(upstream, user=text)
        assert [entry["body"]["user"] for entry in upstream.log()] == ["two", "three"]
        assert upstream.stats()["requests"] == 3
        assert upstream.stats()["log_dropped"] == 1


def test_a_stopped_upstream_refuses_and_comes_back_at_its_port(upstream: Upstream) -> None:
    address = upstream.base_url
    with httpx.Client() as client:
        client.get(f"{upstream.origin}/_sim/stats")
        upstream.stop()
        with pytest.raises(httpx.ConnectError):
            ask(upstream)
        upstream.start()
        assert upstream.base_url == address
        assert ask(upstream).status_code == 200
    assert upstream.stats()["requests"] == 1


def test_the_same_question_has_the_same_answer() -> None:
    def answers() -> list[dict[str, Any]]:
        with Upstream(seed=3) as upstream:
            return [ask(upstream, n=2, logprobs=True).json() | {"created": 0} for _ in range(2)]

    first, second = answers()
    assert answers() == [first, second]
    assert first["id"] != second["id"]
    assert first["choices"] == second["choices"]
