"""The configuration in every process: what is revoked, demoted, disabled or expired ends there within a second."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from accounts.models import ApiKey, Membership, Role, User
from gateway.models import Provider
from tests.gateway.conftest import Client, Servers
from tests.stack import Server

BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
ONE_SECOND = 1.0


def ask(server: Server, key: str) -> httpx.Response:
    return httpx.post(
        f"{server.base_url}/v1/chat/completions", json=BODY, headers={"authorization": f"Bearer {key}"}, timeout=10
    )


def code_of(answer: httpx.Response) -> str:
    return "" if answer.status_code == 200 else str(answer.json()["error"]["code"])


def seconds_until(servers: Servers, key: str, code: str) -> float:
    """Return how long after now the last of the processes gave the answer; a second later the test has failed."""
    began = time.monotonic()
    for server in (servers.door, servers.twin):
        while code_of(ask(server, key)) != code:
            assert time.monotonic() - began < ONE_SECOND, f"no {code} within a second"
            time.sleep(0.01)
    return time.monotonic() - began


@pytest.fixture
def key(routed: Client, servers: Servers) -> str:
    """A key of the tenant's developer that works in both processes."""
    dev = User.objects.create(email=f"dev@{routed.tenant.slug}.example")
    Membership.objects.create(tenant=routed.tenant, user=dev, role=Role.DEVELOPER)
    made = httpx.post(
        f"{servers.twin.base_url}/v1/keys",
        json={"name": "worker", "scopes": ["completions:write", "providers:read"]},
        headers=routed.headers,
    ).json()
    ApiKey.objects.filter(id=made["id"]).update(created_by=dev)
    for server in (servers.door, servers.twin):
        deadline = time.monotonic() + 5
        while code_of(ask(server, made["api_key"])) != "":
            assert time.monotonic() < deadline
            time.sleep(0.02)
    key: str = made["api_key"]
    return key


def id_of(routed: Client, key: str) -> Any:
    return ApiKey.objects.for_tenant(routed.tenant).get(name="worker").id


def test_a_revoked_key_is_refused_by_every_process_within_a_second(routed: Client, servers: Servers, key: str) -> None:
    url = f"{servers.twin.base_url}/v1/keys/{id_of(routed, key)}"
    assert httpx.delete(url, headers=routed.headers).status_code == 204
    assert seconds_until(servers, key, "INVALID_API_KEY") < ONE_SECOND


def rotate(routed: Client, servers: Servers, key: str, grace_s: int) -> dict[str, Any]:
    url = f"{servers.twin.base_url}/v1/keys/{id_of(routed, key)}/rotate"
    answer = httpx.post(url, json={"grace_s": grace_s}, headers=routed.headers)
    assert answer.status_code == 200
    rotated: dict[str, Any] = answer.json()
    return rotated


def test_a_rotated_secret_is_refused_by_every_process_within_a_second_and_the_new_one_taken(
    routed: Client, servers: Servers, key: str
) -> None:
    rotated = rotate(routed, servers, key, grace_s=0)
    assert seconds_until(servers, key, "INVALID_API_KEY") < ONE_SECOND
    assert seconds_until(servers, rotated["api_key"], "") < ONE_SECOND


def test_both_secrets_are_the_same_key_in_every_process_until_the_grace_is_over(
    routed: Client, servers: Servers, key: str
) -> None:
    rotated = rotate(routed, servers, key, grace_s=3)
    assert seconds_until(servers, rotated["api_key"], "") < ONE_SECOND
    end = datetime.fromisoformat(rotated["previous_expires_at"])
    for server in (servers.door, servers.twin):
        answers = [ask(server, secret) for secret in (key, rotated["api_key"])]
        assert [code_of(answer) for answer in answers] == ["", ""]
        rows = [routed.row(answer.headers["x-request-id"]) for answer in answers]
        assert {str(row.key_id) for row in rows} == {rotated["id"]}
    time.sleep(max(0.0, (end - datetime.now(UTC)).total_seconds()))
    for server in (servers.door, servers.twin):
        assert code_of(ask(server, key)) == "INVALID_API_KEY"
        assert code_of(ask(server, rotated["api_key"])) == ""


def test_a_revocation_ends_a_secret_in_grace_too(routed: Client, servers: Servers, key: str) -> None:
    rotated = rotate(routed, servers, key, grace_s=600)
    assert seconds_until(servers, rotated["api_key"], "") < ONE_SECOND
    url = f"{servers.twin.base_url}/v1/keys/{rotated['id']}"
    assert httpx.delete(url, headers=routed.headers).status_code == 204
    assert seconds_until(servers, key, "INVALID_API_KEY") < ONE_SECOND
    assert seconds_until(servers, rotated["api_key"], "INVALID_API_KEY") < ONE_SECOND


def test_the_expiry_of_a_key_comes_before_the_end_of_its_grace(routed: Client, servers: Servers, key: str) -> None:
    rotated = rotate(routed, servers, key, grace_s=600)
    assert seconds_until(servers, rotated["api_key"], "") < ONE_SECOND
    ApiKey.objects.filter(id=rotated["id"]).update(expires_at=datetime.now(UTC))
    assert seconds_until(servers, key, "INVALID_API_KEY") < ONE_SECOND


def disable_provider(routed: Client) -> None:
    Provider.objects.for_tenant(routed.tenant).update(enabled=False)


def delete_membership(routed: Client) -> None:
    Membership.objects.filter(tenant=routed.tenant, role=Role.DEVELOPER).delete()


def deactivate_user(routed: Client) -> None:
    User.objects.filter(email=f"dev@{routed.tenant.slug}.example").update(is_active=False)


def demote(routed: Client) -> None:
    Membership.objects.filter(tenant=routed.tenant, role=Role.DEVELOPER).update(role=Role.VIEWER)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (disable_provider, "MODEL_NOT_FOUND"),
        (delete_membership, "SCOPE_REQUIRED"),
        (deactivate_user, "SCOPE_REQUIRED"),
        (demote, "SCOPE_REQUIRED"),
    ],
)
def test_a_change_that_no_service_made_counts_as_fast(
    routed: Client, servers: Servers, key: str, change: Callable[[Client], None], code: str
) -> None:
    """Raw SQL, the admin and the ORM raise the same revision; nobody has to push it."""
    change(routed)
    assert seconds_until(servers, key, code) < ONE_SECOND


def test_a_key_expires_to_the_second_without_any_change(routed: Client, servers: Servers, key: str) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=2)
    ApiKey.objects.filter(id=id_of(routed, key)).update(expires_at=moment)
    time.sleep(1.0)
    assert code_of(ask(servers.door, key)) == ""
    time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))
    assert code_of(ask(servers.door, key)) == "INVALID_API_KEY"
    assert code_of(ask(servers.twin, key)) == "INVALID_API_KEY"
