"""The logs of real processes in JSON: every line is an object, names whom it is about, and holds nobody's content."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import connection

from nexus.celery import app
from tests.gateway.conftest import Client, in_force
from tests.stack import ROOT, Server, Stack, eventually
from tests.upstream import Upstream

CANARY = "canary-of-a-message"
HOSTILE = "gpt\n{} CRITICAL forged \x1b[2J"


@pytest.fixture(scope="module")
def stack(committed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("json-logs"), connection.settings_dict["NAME"], {"NEXUS_LOG_FORMAT": "json"})
    yield made
    made.stop()


@pytest.fixture(scope="module")
def server(stack: Stack) -> Server:
    stack.run("ship")
    return stack.serve("all", workers=2)


def lines(stack: Stack) -> list[dict[str, Any]]:
    texts = [path.read_text().splitlines() for path in stack.folder.glob("*.log")]
    return [json.loads(line) for text in texts for line in text]


def test_every_line_of_the_servers_and_the_shipper_is_json_without_content(
    stack: Stack, server: Server, client: Client, upstream: Upstream
) -> None:
    client.add_provider(upstream, name="primary")
    in_force(server)
    upstream.script("status=500", repeat=True)
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": CANARY}]}
    url = f"{server.base_url}/v1/chat/completions"
    answers = [httpx.post(url, json=body, headers=client.headers, timeout=30) for _ in range(3)]
    assert answers[0].status_code == 502
    assert httpx.post(url, json={**body, "model": HOSTILE}, headers=client.headers).status_code == 404
    httpx.post(url, content=f'{{"{CANARY}'.encode(), headers=client.headers)
    httpx.post(f"{server.base_url}/v1/keys", json={"name": CANARY, "scopes": [CANARY]}, headers=client.headers)
    httpx.get(f"{server.base_url}/v1/{CANARY}%0a%1b[2J", headers={"authorization": f"Bearer {client.key}"})

    def opened() -> dict[str, Any] | None:
        changes = (line for line in lines(stack) if line["message"] == "A circuit changed.")
        return next((line for line in changes if line["to_state"] == "open"), None)

    change = eventually(opened, what="the line about the circuit")
    assert (change["logger"], change["level"]) == ("gateway.plane", "WARNING")
    assert change["tenant_id"] == str(client.tenant.id)
    refused = next(line for line in lines(stack) if line.get("status_code") == 400)
    assert refused["tenant"] == client.tenant.slug
    assert refused["request_id"]
    text = "".join(path.read_text() for path in stack.folder.glob("*.log"))
    assert client.key not in text
    assert "sk-upstream-secret" not in text
    assert (
        text.count(CANARY) == text.count(f"Not Found: /v1/{CANARY}") == 1
    )  # a path that nothing answers is told as it was asked


def test_a_celery_worker_logs_as_every_process_does(stack: Stack, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    arguments = [
        "-m",
        "celery",
        "-q",
        "-A",
        "nexus",
        "worker",
        "--pool",
        "solo",
        "--without-mingle",
        "--without-gossip",
    ]
    with log.open("ab") as output:
        worker = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, **stack.environment},
            stderr=output,
            stdout=output,
        )
    broker = os.environ["REDIS_URL"].replace("unix://", "redis+socket://")
    try:
        with app.connection_for_write(broker) as link:
            app.send_task("gateway.tasks.maintain_partitions", kwargs={"strange": CANARY}, connection=link)

        def failed() -> dict[str, Any] | None:
            told = [json.loads(line) for line in log.read_text().splitlines()]
            return next((line for line in told if line["level"] == "ERROR"), None)

        line = eventually(failed, seconds=30, what="the line about the failed task")
        text = log.read_text()  # Celery says good-bye past every logger
    finally:
        worker.terminate()
        worker.wait(20)
    assert "gateway.tasks.maintain_partitions" in line["message"]
    assert line["exception"] == "TypeError"
    assert CANARY not in text
    assert all(json.loads(each) for each in text.splitlines())
