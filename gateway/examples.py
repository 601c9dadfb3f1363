"""Commands that people copy: a request to this gateway, with a model that it serves."""

import json

from django.http import HttpRequest

from accounts.models import Tenant
from gateway.models import ModelRoute

EXAMPLE_MODEL = "gpt-4o-mini"
_SAID = "Hello"
_MOST_TOKENS = 1024  # Anthropic's API wants a limit


def curl(
    request: HttpRequest,
    tenant: Tenant,
    *,
    model: str | None = None,
    endpoint: str = "chat/completions",
    streamed: bool = False,
    key: str = "$NEXUS_API_KEY",
) -> str:
    """Return a request as a curl command. Two queries at most, none where the model is given."""
    body: dict[str, object] = {"model": model or served_model(tenant)}
    if endpoint in ("embeddings", "responses"):
        body["input"] = _SAID
    elif endpoint == "completions":
        body["prompt"] = _SAID
    else:
        body["messages"] = [{"role": "user", "content": _SAID}]
    if endpoint == "messages":
        body["max_tokens"] = _MOST_TOKENS
    if streamed:
        body["stream"] = True
    quoted = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")  # a model's name is whatever a caller wrote
    return (
        f"curl {request.build_absolute_uri(f'/v1/{endpoint}')} \\\n"
        f'  -H "Authorization: Bearer {key}" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d '{quoted}'"
    )


def served_model(tenant: Tenant) -> str:
    """Return a model that an example can ask for and get. Two queries at most."""
    names = ModelRoute.objects.for_tenant(tenant).filter(provider__enabled=True).values_list("public_name", flat=True)
    chat = names.exclude(public_name__contains="embedding").order_by("public_name", "id")
    return chat.filter(public_name=EXAMPLE_MODEL).first() or chat.first() or EXAMPLE_MODEL
