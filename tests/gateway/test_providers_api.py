"""Provider connections over REST: who may do what, what is refused, and that a key never comes out again."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.test import Client

from accounts.models import AuditEvent, Tenant
from gateway.circuit_store import circuit_key
from gateway.models import CircuitEvent, ModelRoute, Provider
from nexus.encryption import Cipher
from nexus.redis_clients import sync_client
from tests.conftest import Person
from tests.database import WALL
from tests.upstream import Upstream

pytestmark = pytest.mark.django_db
CANARY = "sk-canary-7f3a9c51d2e84b06"
BODY: dict[str, Any] = {
    "name": "OpenAI",
    "family": "openai",
    "base_url": "https://llm.example.com/v1",
    "api_key": CANARY,
    "models": {"gpt-4o": "gpt-4o-2024-08-06"},
}


def create(user: Person, **overrides: Any) -> Any:
    return user.browser.post("/v1/providers", {**BODY, **overrides}, content_type="application/json")


def created(user: Person, **overrides: Any) -> dict[str, Any]:
    response = create(user, **overrides)
    assert response.status_code == 201, response.content
    body: dict[str, Any] = response.json()
    return body


def change(user: Person, provider_id: str, **fields: Any) -> Any:
    return user.browser.patch(f"/v1/providers/{provider_id}", fields, content_type="application/json")


def opened(provider: Provider) -> str:
    return Cipher(django_settings.NEXUS_ENCRYPTION_KEYS).open(
        provider.api_key_sealed, context=f"provider:{provider.id}"
    )


def test_an_admin_connects_a_provider(ada: Person) -> None:
    body = created(ada)

    assert UUID(body["id"]).version == 7
    assert body == {
        "id": body["id"],
        "name": "OpenAI",
        "family": "openai",
        "base_url": "https://llm.example.com/v1",
        "api_key_last4": "4b06",
        "weight": 100,
        "enabled": True,
        "timeout_s": 60,
        "models": {"gpt-4o": "gpt-4o-2024-08-06"},
        "options": {},
        "simulated": False,
        "circuit": {
            "state": "closed",
            "consecutive_failures": 0,
            "opened_at": None,
            "half_open_at": None,
            "last_transition": None,
        },
        "created_at": body["created_at"],
        "updated_at": body["updated_at"],
    }
    assert body["created_at"].endswith("Z")
    assert opened(Provider.objects.get(id=body["id"])) == CANARY


def test_the_family_has_its_own_address_and_the_compatible_one_needs_one(ada: Person) -> None:
    assert created(ada, base_url="")["base_url"] == "https://api.openai.com/v1"

    refused = create(ada, name="vLLM", family="openai_compatible", base_url="")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "base_url")


def test_a_preset_brings_its_address_and_its_patience(ada: Person, settings: Any) -> None:
    compatible: dict[str, Any] = {"family": "openai_compatible", "base_url": ""}
    groq = created(ada, name="Groq", options={"preset": "groq"}, **compatible)
    assert (groq["base_url"], groq["timeout_s"]) == ("https://api.groq.com/openai/v1", 60)
    assert groq["options"] == {"preset": "groq"}
    settings.NEXUS_ALLOW_PRIVATE_PROVIDERS = "127.0.0.0/8"
    ollama = created(ada, name="Ollama", options={"preset": "ollama"}, **compatible)
    assert (ollama["base_url"], ollama["timeout_s"]) == ("http://localhost:11434/v1", 300)
    assert created(ada, name="Mine", options={"preset": "ollama"}, **compatible, timeout_s=5)["timeout_s"] == 5
    moved = change(ada, groq["id"], base_url="https://proxy.example.com/v1").json()
    assert moved["options"] == {"preset": "groq"}
    assert change(ada, groq["id"], base_url="").json()["base_url"] == "https://api.groq.com/openai/v1"
    other = change(ada, groq["id"], options={"preset": "deepseek"}).json()
    assert other["base_url"] == "https://api.deepseek.com"
    assert change(ada, groq["id"], options={}).json()["base_url"] == "https://api.deepseek.com"


def test_an_unknown_preset_is_refused_with_those_there_are(ada: Person) -> None:
    refused = create(ada, family="openai_compatible", options={"preset": "grok"}).json()["error"]
    assert refused["param"] == "options.preset"
    assert "groq, deepseek, xai, openrouter, together, fireworks, vllm, ollama, lmstudio" in refused["message"]
    assert create(ada, options={"preset": "groq"}).json()["error"]["param"] == "options"


def test_a_developer_reads_and_changes_nothing(ada: Person, dev: Person) -> None:
    provider = created(ada)
    mine = dev.browser

    assert mine.get("/v1/providers").json()["data"][0]["id"] == provider["id"]
    assert mine.get(f"/v1/providers/{provider['id']}").json() == provider
    refusals = [
        create(dev, name="other"),
        change(dev, provider["id"], weight=1),
        mine.delete(f"/v1/providers/{provider['id']}"),
        mine.post(f"/v1/providers/{provider['id']}/test"),
    ]
    assert [(each.status_code, each.json()["error"]["code"]) for each in refusals] == [(403, "SCOPE_REQUIRED")] * 4
    assert Provider.objects.get(id=provider["id"]).weight == 100


def test_a_viewer_sees_no_provider(ada: Person, vera: Person) -> None:
    provider = created(ada)

    assert vera.browser.get("/v1/providers").status_code == 403
    assert vera.browser.get(f"/v1/providers/{provider['id']}").status_code == 403


def test_another_tenants_provider_does_not_exist(ada: Person, gus: Person) -> None:
    path = f"/v1/providers/{created(ada)['id']}"
    theirs = gus.browser

    answers = [
        theirs.get(path),
        theirs.patch(path, {"weight": 1}, content_type="application/json"),
        theirs.delete(path),
        theirs.post(f"{path}/test"),
        theirs.get(f"/v1/providers/{uuid4()}"),
    ]
    assert [each.status_code for each in answers] == [404] * 5
    assert theirs.get("/v1/providers").json() == {"data": [], "next_cursor": None}
    assert Provider.objects.count() == 1


def test_nobody_signed_in_is_refused(db: None) -> None:
    assert Client().get("/v1/providers").status_code == 401


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"colour": "red"}, "colour"),
        ({"simulated": True}, "simulated"),
        ({"family": "nonsense"}, "family"),
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"base_url": "ftp://example.com"}, "base_url"),
        ({"base_url": "https://user:pw@example.com"}, "base_url"),
        ({"base_url": "https://example.com/?x=1"}, "base_url"),
        ({"base_url": 7}, "base_url"),
        ({"api_key": "sk-with space"}, "api_key"),
        ({"api_key": "sk-\u00e9"}, "api_key"),
        ({"weight": -1}, "weight"),
        ({"weight": 1_000_001}, "weight"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": 601}, "timeout_s"),
        ({"models": {}}, "models"),
        ({"models": {"gpt-4o": ""}}, "models.gpt-4o"),
        ({"models": {"x" * 201: "y"}}, "models"),
        ({"models": {"gpt-4o": "y" * 201}}, "models.gpt-4o"),
        ({"models": ["gpt-4o"]}, "models"),
        ({"models": {f"m{n}": "m" for n in range(501)}}, "models"),
        ({"options": {"region": "eu"}}, "options"),
        ({"options": {"drop_unsupported": "yes"}}, "options.drop_unsupported"),
        ({"options": {"organization": "org\r\nx-evil: 1"}}, "options.organization"),
        ({"family": "openai_compatible", "options": {"organization": "org"}}, "options"),
        ({"family": "anthropic", "options": {"anthropic_version": "latest"}}, "options.anthropic_version"),
        ({"family": "anthropic", "options": {"organization": "org"}}, "options"),
        ({"family": "bedrock", "options": {"region": "evil.example.com/"}}, "options.region"),
        ({"family": "bedrock", "options": {"region": 7}}, "options.region"),
        ({"family": "bedrock", "options": {"access_key_id": "AK ID"}}, "options.access_key_id"),
        ({"family": "bedrock", "options": {"secret_access_key": "x"}}, "options"),
        ({"family": "openai", "options": {"vertex": {"project": "acme", "location": "global"}}}, "options"),
        ({"family": "gemini", "options": {"organization": "org"}}, "options"),
        ({"family": "gemini", "options": {"vertex": "acme"}}, "options.vertex"),
        ({"family": "gemini", "options": {"vertex": {"project": "acme"}}}, "options.vertex"),
        ({"family": "gemini", "options": {"vertex": {"project": "a/../b", "location": "global"}}}, "options.vertex"),
        ({"family": "gemini", "options": {"vertex": {"project": "acme", "location": "x.evil"}}}, "options.vertex"),
    ],
)
def test_it_refuses_what_it_does_not_understand_and_names_it(ada: Person, fields: dict[str, Any], param: str) -> None:
    response = create(ada, **fields)

    assert response.status_code == 400, response.content
    assert response.json()["error"]["code"] == "INVALID_REQUEST"
    assert response.json()["error"]["param"] == param
    assert not Provider.objects.exists()


def test_an_unknown_family_is_told_with_those_that_are_there(ada: Person) -> None:
    message = create(ada, family="nonsense").json()["error"]["message"]

    assert "anthropic, azure_openai, bedrock, cohere, gemini, mistral, openai, openai_compatible" in message


def test_the_vendors_own_address_follows_the_region(ada: Person) -> None:
    fields: dict[str, Any] = {"family": "bedrock", "base_url": "", "models": {"claude": "anthropic.claude-v1:0"}}
    body = created(ada, **fields, options={"region": "eu-west-1", "access_key_id": "AKID"})
    assert body["base_url"] == "https://bedrock-runtime.eu-west-1.amazonaws.com"
    moved = change(ada, body["id"], options={"region": "us-west-2", "access_key_id": "AKID"}, api_key=CANARY).json()
    assert moved["base_url"] == "https://bedrock-runtime.us-west-2.amazonaws.com"
    assert moved["api_key_last4"]
    own = change(ada, body["id"], base_url="https://bedrock.internal.example", options={"region": "us-west-2"}).json()
    assert own["base_url"] == "https://bedrock.internal.example"
    kept = change(ada, body["id"], options={"region": "eu-west-1"}).json()
    assert kept["base_url"] == "https://bedrock.internal.example"
    assert created(ada, **fields, name="Second")["base_url"] == "https://bedrock-runtime.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    "base_url",
    ["http://127.0.0.1:11434", "http://localhost:11434", "http://169.254.169.254", "http://10.0.0.7", "http://[::1]",
     "http://127.1", "http://2130706433", "http://0x7f.1"],
)  # fmt: skip
def test_an_address_inside_is_refused_unless_the_operator_allows_it(ada: Person, settings: Any, base_url: str) -> None:
    settings.NEXUS_ALLOW_PRIVATE_PROVIDERS = ""
    refused = create(ada, base_url=base_url)
    settings.NEXUS_ALLOW_PRIVATE_PROVIDERS = "true"
    allowed = create(ada, base_url=base_url)

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "base_url")
    assert "NEXUS_ALLOW_PRIVATE_PROVIDERS" in refused.json()["error"]["message"]
    assert allowed.status_code == 201


def test_a_name_can_be_taken_only_once_per_tenant(ada: Person, gus: Person) -> None:
    created(ada)
    other = created(ada, name="Other")
    again = create(ada)
    renamed = change(ada, other["id"], name="OpenAI")

    assert [(each.status_code, each.json()["error"]["param"]) for each in (again, renamed)] == [(409, "name")] * 2
    assert create(gus).status_code == 201


def test_a_change_touches_what_is_given_and_nothing_else(ada: Person) -> None:
    provider = created(ada, options={"organization": "org-1"})

    body = change(ada, provider["id"], weight=5, models={"gpt-4o-mini": "gpt-4o-mini"}).json()

    unchanged = {**provider, "weight": 5, "models": {"gpt-4o-mini": "gpt-4o-mini"}, "updated_at": body["updated_at"]}
    assert body == unchanged
    assert body["updated_at"] > provider["updated_at"]
    assert list(ModelRoute.objects.values_list("public_name", flat=True)) == ["gpt-4o-mini"]
    assert opened(Provider.objects.get()) == CANARY


def test_a_change_that_changes_nothing_leaves_no_trace(ada: Person) -> None:
    provider = created(ada)
    before = AuditEvent.objects.count()

    assert change(ada, provider["id"], weight=100, base_url="https://LLM.example.com/v1/").json() == provider
    assert AuditEvent.objects.count() == before


def test_the_family_is_fixed(ada: Person) -> None:
    response = change(ada, created(ada)["id"], family="openai_compatible")

    assert (response.status_code, response.json()["error"]["param"]) == (400, "family")


def test_a_new_address_without_its_key_wipes_the_key_and_says_so(ada: Person) -> None:
    provider = created(ada)

    body = change(ada, provider["id"], base_url="https://elsewhere.example.com/v1").json()

    assert body["api_key_last4"] == ""
    assert len(body["warnings"]) == 1
    assert Provider.objects.get().api_key_sealed == ""


def test_a_new_address_with_a_key_keeps_that_key(ada: Person) -> None:
    provider = created(ada)

    body = change(
        ada, provider["id"], base_url="https://elsewhere.example.com/v1", api_key="sk-the-new-one-1234"
    ).json()

    assert body["api_key_last4"] == "1234"
    assert "warnings" not in body
    assert opened(Provider.objects.get()) == "sk-the-new-one-1234"


def test_the_same_key_may_follow_to_a_new_address(ada: Person) -> None:
    provider = created(ada)

    body = change(ada, provider["id"], base_url="https://elsewhere.example.com/v1", api_key=CANARY).json()

    assert body["api_key_last4"] == CANARY[-4:]
    assert opened(Provider.objects.get()) == CANARY


def test_the_database_wipes_the_key_when_sql_changes_the_address(ada: Person) -> None:
    created(ada)

    with connection.cursor() as cursor:
        cursor.execute("UPDATE gateway_provider SET base_url = 'https://thief.example.com'")

    row = Provider.objects.get()
    assert (row.api_key_sealed, row.api_key_last4) == ("", "")


def test_an_empty_key_removes_it(ada: Person) -> None:
    body = change(ada, created(ada)["id"], api_key="").json()

    assert body["api_key_last4"] == ""
    assert Provider.objects.get().api_key_sealed == ""


def test_without_encryption_keys_no_key_is_taken_and_the_answer_names_the_setting(ada: Person, settings: Any) -> None:
    settings.NEXUS_ENCRYPTION_KEYS = []

    refused = create(ada)

    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "NO_ENCRYPTION_KEYS")
    assert "NEXUS_ENCRYPTION_KEYS is not set" in refused.json()["error"]["message"]
    assert created(ada, api_key="")["api_key_last4"] == ""


def test_a_short_key_shows_nothing_of_itself(ada: Person) -> None:
    assert created(ada, api_key="sk-12345678")["api_key_last4"] == ""


def test_a_provider_is_deleted_once(ada: Person) -> None:
    path = f"/v1/providers/{created(ada)['id']}"
    mine = ada.browser

    assert [mine.delete(path).status_code for _ in range(2)] == [204, 404]
    assert not Provider.objects.exists()
    assert not ModelRoute.objects.exists()


def test_a_list_costs_the_same_for_two_and_for_twelve(ada: Person, django_assert_num_queries: Any) -> None:
    mine = ada.browser
    for number in range(2):
        created(ada, name=f"p{number}")
    with django_assert_num_queries(WALL + 6):  # session, user, membership; page, models, latest events
        mine.get("/v1/providers")
    for number in range(2, 12):
        created(ada, name=f"p{number}")
    with django_assert_num_queries(WALL + 6):
        page = mine.get("/v1/providers?limit=5").json()
    rest = mine.get(f"/v1/providers?cursor={page['next_cursor']}").json()["data"]
    assert [row["name"] for row in page["data"] + rest] == [f"p{number}" for number in reversed(range(12))]


def test_every_change_is_in_the_audit_log_without_the_key(ada: Person, acme: Tenant) -> None:
    provider = created(ada)
    change(ada, provider["id"], api_key="sk-rotated-9876543210", enabled=False)
    change(ada, provider["id"], base_url="https://elsewhere.example.com/v1")
    ada.browser.delete(f"/v1/providers/{provider['id']}")

    events = AuditEvent.objects.for_tenant(acme).filter(target_kind="provider").order_by("created_at", "id")
    assert [(event.action, event.actor_label) for event in events] == [
        ("provider.created", ada.user.email),
        ("provider.updated", ada.user.email),
        ("provider.updated", ada.user.email),
        ("provider.deleted", ada.user.email),
    ]
    assert [event.changes.get("api_key") for event in events] == [
        ["", "set"],
        ["set", "changed"],
        ["set", "deleted"],
        None,
    ]
    assert events[1].changes["enabled"] == [True, False]
    assert CANARY not in json.dumps([event.changes for event in events])


def test_a_key_appears_in_no_answer_no_log_and_no_column(ada: Person, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    mine = ada.browser
    provider = created(ada)
    path = f"/v1/providers/{provider['id']}"
    answers = [
        mine.get(path),
        mine.get("/v1/providers"),
        change(ada, provider["id"], weight=3),
        create(ada),  # the name is taken
        create(ada, name="x", colour="red"),
        create(ada, name="x", models={}),
        change(ada, provider["id"], base_url=f"https://u:{CANARY}@example.com"),
        mine.get("/v1/circuits"),
        mine.get("/v1/audit"),
        mine.get("/"),
        mine.delete(path),
    ]

    assert CANARY not in "".join(answer.content.decode() for answer in answers)
    assert CANARY not in caplog.text
    created(ada)
    assert CANARY not in _every_text_in_the_database()


def _every_text_in_the_database() -> str:
    """Return all rows of all tables as text."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type LIKE 'BASE%'"
        )
        texts = []
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT coalesce(string_agg(row_to_json(t)::text, chr(10)), '') FROM \"{table}\" t")
            texts.append(cursor.fetchone()[0])
    return "\n".join(texts)


@pytest.mark.parametrize(
    "fields", [{"enabled": False}, {"api_key": "sk-another-key-000"}, {"base_url": "https://b.example"}]
)
def test_another_address_key_or_switch_closes_the_circuit(
    ada: Person, settings: Any, fields: dict[str, Any], django_capture_on_commit_callbacks: Any
) -> None:
    provider = created(ada)
    redis = sync_client(settings.REDIS_URL)
    redis.hset(circuit_key(UUID(provider["id"])), mapping={"status": "open", "generation": 3, "opened_at_ms": 1})
    assert ada.browser.get(f"/v1/providers/{provider['id']}").json()["circuit"]["state"] == "open"

    with django_capture_on_commit_callbacks(execute=True):
        change(ada, provider["id"], **fields)

    circuit = ada.browser.get(f"/v1/providers/{provider['id']}").json()["circuit"]
    assert circuit["state"] == "closed"
    assert circuit["last_transition"]["from"] == "open"
    assert next(iter(fields)) in circuit["last_transition"]["reason"]
    event = CircuitEvent.objects.get()
    assert (str(event.provider_id), event.from_state, event.to_state) == (provider["id"], "open", "closed")


def test_a_closed_circuit_has_no_transition_to_tell_after_a_change(
    ada: Person, django_capture_on_commit_callbacks: Any
) -> None:
    provider = created(ada)

    with django_capture_on_commit_callbacks(execute=True):
        change(ada, provider["id"], api_key="sk-another-key-000")

    circuit = ada.browser.get(f"/v1/providers/{provider['id']}").json()["circuit"]
    assert (circuit["state"], circuit["last_transition"]) == ("closed", None)
    assert not CircuitEvent.objects.exists()


def test_without_redis_a_change_is_made_all_the_same(
    ada: Person, settings: Any, caplog: pytest.LogCaptureFixture, django_capture_on_commit_callbacks: Any
) -> None:
    provider = created(ada)
    settings.REDIS_URL = "unix:///nonexistent/valkey.sock"

    with django_capture_on_commit_callbacks(execute=True):
        response = change(ada, provider["id"], enabled=False)

    assert (response.status_code, response.json()["enabled"]) == (200, False)
    assert "could not be reset" in caplog.text


class Vendor(BaseHTTPRequestHandler):
    """A provider that answers GET /v1/models as told, and repeats the key in every error."""

    status: ClassVar[int] = 200
    seen: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("authorization", "")))
        body = json.dumps({"data": [], "error": {"message": f"bad key {self.headers.get('authorization')}"}}).encode()
        self.send_response(self.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def vendor(status: int) -> Iterator[tuple[str, type[Vendor]]]:
    handler = type("ThisVendor", (Vendor,), {"status": status, "seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", handler
        finally:
            server.shutdown()
            thread.join()


def try_out(user: Person, **fields: Any) -> dict[str, Any]:
    provider = created(user, **fields)
    response = user.browser.post(f"/v1/providers/{provider['id']}/test")
    assert response.status_code == 200, response.content
    assert CANARY not in response.content.decode()
    assert "127.0.0.1" not in response.content.decode()
    body: dict[str, Any] = response.json()
    return body


def test_a_live_call_lists_the_models_with_the_key(ada: Person) -> None:
    with vendor(200) as (url, handler):
        body = try_out(ada, base_url=url)

    assert handler.seen == [("/v1/models", f"Bearer {CANARY}")]
    assert (body["ok"], body["status"], body["error"]) == (True, 200, None)
    assert 0 <= body["latency_ms"] < 10_000


@pytest.mark.parametrize(
    ("family", "query"),
    [
        ("anthropic", "limit=1000"),
        ("azure_openai", "api-version=2024-10-21"),
        ("cohere", "page_size=1000"),
        ("mistral", ""),
        ("openai", ""),
    ],
)
def test_a_live_call_lists_the_models_the_familys_own_way(ada: Person, family: str, query: str) -> None:
    with Upstream(family, api_key=CANARY) as upstream:
        body = try_out(ada, family=family, base_url=upstream.base_url)
        wrong = try_out(ada, name="Other", family=family, base_url=upstream.base_url, api_key="another-key")

    assert (body["ok"], body["error"]) == (True, None)
    assert (wrong["ok"], wrong["status"]) == (False, 401)
    assert upstream.log()[0]["query"] == query


def test_a_live_call_to_bedrock_is_signed(ada: Person) -> None:
    options = {"region": "eu-west-1", "access_key_id": "AKID"}
    with Upstream("bedrock", api_key=CANARY) as upstream:
        good = try_out(ada, family="bedrock", base_url=upstream.base_url, options=options)
        wrong = try_out(ada, name="Forged", family="bedrock", base_url=upstream.base_url, options=options, api_key="x")

    assert (good["ok"], good["error"]) == (True, None)
    assert (wrong["ok"], wrong["error"]) == (False, "The provider refused the API key (403).")
    assert "/eu-west-1/bedrock/aws4_request" in upstream.log()[0]["headers"]["authorization"]


def test_googles_400_for_a_bad_key_is_a_refused_key(ada: Person) -> None:
    with Upstream("gemini", api_key=CANARY) as google:
        good = try_out(ada, name="Good", family="gemini", base_url=google.base_url)
        bad = try_out(ada, name="Bad", family="gemini", base_url=google.base_url, api_key="AIza-another")
    assert (good["ok"], good["status"]) == (True, 200)
    assert (bad["ok"], bad["status"], bad["error"]) == (False, 400, "The provider refused the API key (400).")


def test_googles_own_address_follows_the_location(ada: Person) -> None:
    def vertex(location: str) -> dict[str, Any]:
        return {"options": {"vertex": {"project": "acme", "location": location}}}

    google = created(ada, family="gemini", base_url="")
    assert google["base_url"] == "https://generativelanguage.googleapis.com"
    path = f"/v1/providers/{google['id']}"
    moved = ada.browser.patch(path, vertex("europe-west4"), content_type="application/json").json()
    assert moved["base_url"] == "https://europe-west4-aiplatform.googleapis.com"
    assert moved["options"] == vertex("europe-west4")["options"]
    again = ada.browser.patch(path, vertex("global"), content_type="application/json").json()
    assert again["base_url"] == "https://aiplatform.googleapis.com"
    own = {"base_url": "https://proxy.example.com"}
    assert ada.browser.patch(path, own, content_type="application/json").json()["base_url"] == own["base_url"]
    kept = ada.browser.patch(path, vertex("europe-west4"), content_type="application/json").json()
    assert kept["base_url"] == own["base_url"]


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "refused the API key"), (404, "no list of models"), (302, "redirect"), (503, "answered 503")],
)
def test_a_live_call_that_fails_says_why_in_our_words(ada: Person, status: int, words: str) -> None:
    with vendor(status) as (url, _):
        body = try_out(ada, base_url=url)

    assert (body["ok"], body["status"]) == (False, status)
    assert words in body["error"]


def test_a_live_call_to_nobody_is_an_answer_too(ada: Person) -> None:
    with vendor(200) as (url, _):
        pass

    body = try_out(ada, base_url=url)
    assert (body["ok"], body["latency_ms"], body["status"]) == (False, None, None)
    assert body["error"]


def test_a_live_call_dials_no_address_that_requests_may_not(ada: Person, settings: Any) -> None:
    with vendor(200) as (url, handler):
        provider = created(ada, base_url=url)
        settings.NEXUS_ALLOW_PRIVATE_PROVIDERS = ""
        body = ada.browser.post(f"/v1/providers/{provider['id']}/test").json()

    assert not body["ok"]
    assert "NEXUS_ALLOW_PRIVATE_PROVIDERS" in body["error"]
    assert handler.seen == []


def test_a_key_that_cannot_be_read_is_told_by_the_live_call(ada: Person) -> None:
    first, second = created(ada), created(ada, name="Second")
    sealed = Provider.objects.get(id=first["id"]).api_key_sealed
    Provider.objects.filter(id=second["id"]).update(api_key_sealed=sealed)

    body = ada.browser.post(f"/v1/providers/{second['id']}/test").json()

    assert (body["ok"], body["status"]) == (False, None)
    assert "cannot be read" in body["error"]
