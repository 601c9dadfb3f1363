"""One installation of many processes, and people and programs that use it in every way, with secrets that are known."""

import json
import os
import re
import subprocess
import sys
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from accounts.models import User
from accounts.rbac import SCOPES
from gateway.models import Provider
from nexus.celery import app
from nexus.redis_clients import celery_url
from tests.gateway.outages import Ground
from tests.stack import ROOT, Process, Server, Stack, eventually
from tests.walls.canaries import Canaries
from tests.walls.echoing_provider import ECHOES, STREAM_ECHOES

SOME = 4  # pages of a kind
CONTENT = "what a model is asked"  # nobody but the client and the provider has to know it


class Visit:
    """Everything that is asked of one installation, and every answer but those that show a secret on purpose."""

    def __init__(self, own: Ground) -> None:
        self.own = own
        self.canaries = Canaries()
        self.answers: dict[str, bytes] = {}
        self.completions: dict[str, bytes] = {}  # answers of models, which hold content
        self._make_secrets()
        self.stack: Stack = own.stack("visited", self._environment())
        self.key = self.bootstrap()
        self.server: Server = self.stack.serve("all")
        self.worker: Process = self.stack.run(
            *("worker", "--beat", "--pool", "solo", "--schedule", str(self.stack.folder / "beat"), "-l", "DEBUG"),
            program=("-m", "celery", "-A", "nexus"),
            environment={"NEXUS_LOG_FORMAT": "json"},
        )
        self.http = httpx.Client(base_url=self.server.base_url, timeout=30)

    def _make_secrets(self) -> None:
        made = self.canaries.made
        self.password, self.metrics_token = made("the password", within="\"&<'%\\"), made("the metrics token")
        self.webhook, self.provider_key = made("the webhook secret"), made("the provider's key", "sk-")
        self.strange_key, self.typo = made("an unknown key", "nxk_"), made("a mistyped password", within="\"&<'%\\")
        self.content = made(CONTENT)
        self.secret_key = made("the secret key")
        self.encryption_key = urlsafe_b64encode(os.urandom(32)).decode()
        self.canaries.plant("the encryption key", self.encryption_key)
        self.canaries.plant("the raw encryption key", urlsafe_b64decode(self.encryption_key))
        for path in self.own.folder.glob("*.password"):
            self.canaries.plant(f"the password in {path.name}", path.read_text())

    def _environment(self) -> dict[str, str]:
        return {
            "SECRET_KEY": self.secret_key,
            "NEXUS_ENCRYPTION_KEYS": self.encryption_key,
            "NEXUS_METRICS_TOKEN": self.metrics_token,
            "NEXUS_LOG_LEVEL": "DEBUG",
        }

    def bootstrap(self) -> str:
        who = ["--tenant", "acme", "--email", "ada@acme.example", "--password", "-"]
        made = subprocess.run(
            [sys.executable, "manage.py", "bootstrap", *who, "--scopes", ",".join(SCOPES), "--json"],
            cwd=ROOT,
            env={**os.environ, **self.stack.environment},
            input=self.password,
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        User.objects.filter(email="ada@acme.example").update(is_staff=True, is_superuser=True)
        key: str = json.loads(made.stdout)["api_key"]
        self.canaries.plant("the API key", key)
        return key

    # --- asking

    def ask(self, method: str, path: str, *, status: int, secret: bool = False, key: str = "", **more: Any) -> Any:
        """Ask with a key, and keep the answer for the search unless it shows a secret on purpose, once."""
        headers = {"authorization": f"Bearer {key or self.key}", **more.pop("headers", {})}
        answer = self.http.request(method, path, headers=headers, **more)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        if not secret:
            self.keep(f"{method} {path} {status}", answer)
        return answer.json() if answer.headers.get("content-type", "").startswith("application/json") else answer.text

    def keep(self, what: str, answer: httpx.Response) -> None:
        content = answer.request.url.path == "/v1/chat/completions" and what.startswith("POST")
        # A session that is used for longer than a minute is put off, and its cookie goes to its owner again.
        told = answer.headers.multi_items()
        lines = ((name, value) for name, value in told if name != "set-cookie" or not value.startswith("sessionid="))
        head = f"{answer.reason_phrase}\n" + "".join(f"{name}: {value}\n" for name, value in lines)
        kept = self.completions if content else self.answers
        kept[f"{what} #{len(kept)}"] = head.encode() + answer.content

    def chat(self, model: str, *, status: int, stream: bool = False, **more: Any) -> Any:
        message = {"role": "user", "content": self.content}
        body = {"model": model, "messages": [message], "stream": stream, "user": self.content}
        return self.ask("POST", "/v1/chat/completions", status=status, json=body, **more)

    def submit(self, path: str, *, status: int, **fields: str) -> httpx.Response:
        """Send a form as a browser does."""
        page = self.http.get(path)
        assert page.status_code == 200, f"{path}: {page.status_code}"
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token is not None
        form = {"csrfmiddlewaretoken": token[1], **fields}
        answer = self.http.post(path, data=form, headers={"referer": self.server.base_url})
        assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text[-2000:]}"
        return answer


def use_all_of_it(visit: Visit, echo: str, upstream: str) -> None:
    manage_keys_and_providers(visit, echo, upstream)
    in_force(visit)
    use_the_gateway(visit)
    make_mistakes(visit)
    sign_in(visit)
    fill_in_forms(visit)
    work(visit)


def manage_keys_and_providers(visit: Visit, echo: str, upstream: str) -> None:
    made = visit.ask("POST", "/v1/keys", status=201, secret=True, json={"name": "k", "scopes": ["completions:write"]})
    visit.canaries.plant("a second API key", made["api_key"])
    rotated = visit.ask("POST", f"/v1/keys/{made['id']}/rotate", status=200, secret=True, json={"grace_s": 600})
    visit.canaries.plant("a rotated API key", rotated["api_key"])
    visit.chat("gpt-4o", status=404, key=made["api_key"])
    visit.ask("PATCH", "/v1/settings", status=200, json={"gitops_secret": visit.webhook})
    secret = {"api_key": visit.provider_key}
    providers = []
    for how in (*ECHOES, *STREAM_ECHOES):  # a provider each, so that no circuit opens
        echoing = {"name": f"echo {how}", "family": "openai", "base_url": echo, "models": {how: how}, **secret}
        providers.append(visit.ask("POST", "/v1/providers", status=201, json=echoing))
    good = {"name": "good", "family": "openai", "base_url": upstream, "models": {"gpt-4o": "gpt-4o"}, **secret}
    providers.append(visit.ask("POST", "/v1/providers", status=201, json=good))
    for each in providers[-2:]:
        visit.ask("POST", f"/v1/providers/{each['id']}/test", status=200)
    visit.ask("PATCH", f"/v1/providers/{providers[-1]['id']}", status=200, json={**secret, "weight": 7})
    refused_writes(visit, good)


def refused_writes(visit: Visit, good: dict[str, Any]) -> None:
    refused: list[dict[str, Any]] = [
        {**good, "name": "x" * 500},
        {**good, "name": "good"},
        {**good, "name": "n", "family": "nothing"},
        {**good, "name": "n", "models": {"m": ""}},
        {**good, "name": "n", "unknown": visit.provider_key},
        {**good, "name": "n", "api_key": {"value": visit.provider_key}},
        {**good, "name": "n", "api_key": [visit.provider_key]},
        {**good, "name": "n", "api_key": f"{visit.provider_key}\n{visit.typo}"},
        {**good, "name": "n", "base_url": f"https://ada:{visit.typo}@provider.example/v1"},
        {**good, "name": "n", "options": {"organization": [visit.provider_key]}},
    ]
    for body in refused:
        visit.ask("POST", "/v1/providers", status=409 if body["name"] == "good" else 400, json=body)
    broken = b'{"name": "n", "api_key": "' + visit.provider_key.encode() + b'", '
    visit.ask("POST", "/v1/providers", status=400, content=broken, headers={"content-type": "application/json"})
    visit.ask("PATCH", "/v1/settings", status=400, json={"gitops_secret": [visit.webhook]})
    visit.ask("PATCH", "/v1/settings", status=400, json={"gitops_secret": visit.webhook + "x" * 500})


def use_the_gateway(visit: Visit) -> None:
    visit.chat("gpt-4o", status=200)
    visit.chat("gpt-4o", status=200, stream=True)
    visit.chat("gpt-4o", status=401, key=visit.strange_key)
    visit.chat("nothing", status=404)
    for model, status in ECHOES.items():
        visit.chat(model, status=status)
    for model, status in STREAM_ECHOES.items():
        visit.chat(model, status=status, stream=True)
    for _ in range(2):  # once for real, and once from the answer that was kept
        visit.chat("fine", status=200, headers={"idempotency-key": "one"})
        visit.chat("gpt-4o", status=200, stream=True, headers={"idempotency-key": "two"})
    visit.chat("gpt-4o", status=422, headers={"idempotency-key": "one"})
    for path, body in (
        ("completions", {"model": "gpt-4o", "prompt": [{"strange": visit.content}]}),
        ("embeddings", {"model": "gpt-4o", "input": {"strange": visit.content}}),
        ("chat/completions", {"model": "gpt-4o", "messages": [{"role": visit.content}], "stream": visit.content}),
    ):
        visit.ask("POST", f"/v1/{path}", status=400, json=body)


def make_mistakes(visit: Visit) -> None:
    """What programs do by mistake: the key in the address, in a header of another vendor, in the wrong scheme."""
    query = {"api_key": visit.key, "key": visit.strange_key, "password": visit.typo}
    visit.ask("GET", "/v1/models", status=200, params=query)
    visit.ask("GET", "/v1/keys", status=200, params=query, headers={"x-request-id": visit.key, "user-agent": visit.key})
    visit.ask("GET", "/v1/nothing", status=404, params=query)
    visit.ask("GET", "/v1/audit", status=200, headers={"referer": f"https://example.com/?{visit.typo}"})
    visit.ask("GET", f"/v1/keys/{visit.key}", status=404)
    basic = b64encode(f"ada:{visit.key}".encode()).decode()
    for wrong in ({"authorization": f"Basic {basic}"}, {"authorization": visit.key}, {"api-key": visit.key}):
        for path in ("/v1/models", "/v1/keys"):
            answer = visit.http.get(path, headers={"authorization": "", **wrong})
            assert answer.status_code in (400, 401, 403), answer.text
            visit.keep(f"{path} {sorted(wrong)}", answer)
    signed = {"x-hub-signature-256": f"sha256={visit.webhook}", "x-webhook-secret": visit.webhook}
    visit.ask("POST", "/v1/webhooks/gitops/acme", status=404, headers=signed, json={"secret": visit.webhook})
    visit.ask("POST", "/v1/chat/completions", status=400, content=f'{{"model": "{visit.key}'.encode())


def sign_in(visit: Visit) -> None:
    """Sign in by the form, after two failures."""
    path = "/accounts/login/"
    visit.keep(
        "a sign-in that was refused", visit.submit(path, status=200, username="ada@acme.example", password=visit.typo)
    )
    visit.submit(path, status=200, username=visit.password, password=visit.typo)  # not kept: a form shows the name
    visit.submit(path, status=302, username="ada@acme.example", password=visit.password)
    visit.canaries.plant("the session cookie", visit.http.cookies["sessionid"])


def fill_in_forms(visit: Visit) -> None:
    """Forms of the console and of the operators' admin with secrets in them that are refused, and so come back."""
    ada, provider = User.objects.get(), Provider.objects.get(name="good")
    passwords = {"password1": visit.password, "password2": visit.typo}
    key = {"name": "", "api_key": visit.provider_key, "models": "{"}
    for path, fields, refused in (
        ("/admin/accounts/user/add/", {"email": "eve@acme.example", **passwords}, 200),
        (f"/admin/accounts/user/{ada.id}/password/", passwords, 200),
        ("/admin/gateway/provider/add/", key, 200),
        (f"/admin/gateway/provider/{provider.id}/change/", key, 200),
        ("/t/acme/providers/new/", {**key, "family": "openai"}, 422),
        (f"/t/acme/providers/{provider.id}/edit/", key, 422),
    ):
        page = visit.submit(path, status=refused, **fields)
        assert "errorlist" in page.text or 'id="faults"' in page.text, path
        visit.keep(f"POST {path}", page)
    visit.http.post("/admin/gateway/provider/add/", data=key)  # refused for its missing token


def work(visit: Visit) -> None:
    """Let the Celery worker do something, and fail at something."""
    with app.connection_for_write(celery_url(visit.own.endpoints.redis_url)) as link:
        app.send_task("gateway.tasks.maintain_partitions", connection=link)
        app.send_task("gateway.tasks.forget_config_changes", kwargs={"strange": 1}, connection=link)
    # One after the other, and only a failure is told.
    eventually(lambda: "TypeError" in visit.worker.log.read_text(), what="the second task's failure")


def read_everything(visit: Visit) -> None:
    """Every GET of the API's document, and every page that the pages lead to."""
    document = visit.ask("GET", "/v1/openapi.json", status=200)
    first = {
        "key_id": visit.ask("GET", "/v1/keys", status=200)["data"][0]["id"],
        "member_id": visit.ask("GET", "/v1/members", status=200)["data"][0]["id"],
        "provider_id": visit.ask("GET", "/v1/providers", status=200)["data"][0]["id"],
        "request_id": visit.ask("GET", "/v1/requests", status=200)["data"][0]["id"],
        "model": "gpt-4o",
    }
    for path, methods in document["paths"].items():
        if "get" in methods:
            token = visit.metrics_token if path == "/metrics" else visit.key
            answer = visit.http.get(path.format_map(first), headers={"authorization": f"Bearer {token}"})
            assert answer.status_code in (200, 403, 405), f"{path}: {answer.text[:300]}"
            visit.keep(f"GET {path}", answer)
    visit.ask("GET", "/v1/requests", status=200, params={"format": "csv"})
    visit.keep("/metrics, refused", visit.http.get("/metrics", headers={"authorization": f"Bearer {visit.key}"}))
    follow_links(visit)


def follow_links(visit: Visit) -> None:
    """Open every kind of page, each with some of its rows and filters."""
    seen, kinds, ahead = set[str](), Counter[str](), ["/", "/admin/", "/docs", "/readyz"]
    while ahead:
        path = ahead.pop(0)
        kind = re.sub(r"[0-9a-f-]{36}|\d+", "*", path.partition("?")[0])
        if path in seen or kinds[kind] == SOME:
            continue
        page = visit.http.get(path, follow_redirects=True)
        seen.add(path)
        kinds[kind] += 1
        visit.keep(f"the page {path}", page)
        if "html" in page.headers.get("content-type", ""):
            links = re.findall(r'(?:href|hx-get)="([^"#]*)', page.text)
            reached = [str(page.url.join(link.replace("&amp;", "&"))) for link in links if "logout" not in link]
            home = visit.server.base_url
            ahead += [link.removeprefix(home) for link in reached if link.startswith(home)]
    for page_of in ("auditevent", "apikey", "user", "tenant", "membership"):
        assert f"/admin/accounts/{page_of}/*/change/" in kinds, sorted(kinds)
    assert {"/t/acme/", "/t/acme/providers/*/", "/admin/gateway/provider/*/change/"} <= set(kinds), sorted(kinds)


def fail_without_the_database(visit: Visit) -> None:
    """Faults of our own: tracebacks in the log, and answers that tell nothing."""
    Provider.objects.filter(name="good").update(api_key_sealed="1:broken")
    eventually(lambda: "cannot be read" in visit.stack.logs(), what="the provider that is left out")
    visit.own.kill("postgres")
    visit.chat("400", status=400)
    form = {"username": "ada@acme.example", "password": visit.password, "csrfmiddlewaretoken": "x"}
    bearer = {"authorization": f"Bearer {visit.key}"}
    asked: list[tuple[str, str, dict[str, Any]]] = [("GET", "/v1/keys", {"headers": bearer})]
    for path in ("/", "/admin/", "/accounts/login/"):
        asked += [("GET", path, {}), ("POST", path, {"data": form})]

    def ask(one: tuple[str, str, dict[str, Any]]) -> httpx.Response:
        return visit.http.request(one[0], one[1], **one[2])

    with ThreadPoolExecutor(len(asked)) as pool:  # each waits some seconds for a connection
        answers = list(pool.map(ask, asked))
    assert answers[0].status_code >= 500
    for (method, path, _), answer in zip(asked, answers, strict=True):
        visit.keep(f"{method} {path} without the database", answer)
    visit.own.start("postgres")


def in_force(visit: Visit) -> None:
    def served() -> bool:
        models = visit.http.get("/v1/models", headers={"authorization": f"Bearer {visit.key}"}).json()["data"]
        return {"gpt-4o", *ECHOES, *STREAM_ECHOES} <= {model["id"] for model in models}

    eventually(served, what="the configuration in force")
