"""The form of an API key: text fields in, what the API's serializer takes out."""

from collections.abc import Collection, Mapping
from typing import Any

from django.http import QueryDict
from django.utils import timezone

from accounts.models import ApiKey
from accounts.rbac import SCOPES

PRESET_SCOPES = ("completions:write",)
_RUNTIME = ("completions:write", "embeddings:write")


def initial(key: ApiKey | None) -> dict[str, Any]:
    """Return what the form shows at first."""
    if key is None:
        return {"scopes": list(PRESET_SCOPES)}
    expires = timezone.localtime(key.expires_at).strftime("%Y-%m-%dT%H:%M") if key.expires_at else ""
    limits = {name: getattr(key, name) for name in ApiKey.LIMITS}
    return {"name": key.name, "scopes": key.scopes, "expires_at": expires, **limits}


def posted(form: QueryDict) -> dict[str, Any]:
    """Return a posted form as it is shown again, and as the API would get it but for empty fields, which are null."""
    plain = {name: form.get(name, "").strip() for name in ("name", "expires_at", *ApiKey.LIMITS)}
    return {**plain, "scopes": form.getlist("scopes")}


def body(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a posted form as the API would get it."""
    return {name: value if value or name in ("name", "scopes") else None for name, value in values.items()}


def scope_groups(held: Collection[str], chosen: Collection[str]) -> list[tuple[str, list[tuple[str, bool]]]]:
    """Return the scopes that may be given: those that whoever gives them has, and those that the key has already."""
    offered = [scope for scope in SCOPES if scope in held or scope in chosen]
    return [
        ("Model requests", [(each, each in chosen) for each in offered if each in _RUNTIME]),
        ("Management API", [(each, each in chosen) for each in offered if each not in _RUNTIME]),
    ]


def snippets(base_url: str, key: str, model: str) -> list[tuple[str, str, str]]:
    """Return ways to send a first request: what it is called, its language, the code."""
    return [
        (
            "curl",
            "bash",
            f"curl {base_url}/chat/completions \\\n"
            f'  -H "Authorization: Bearer {key}" \\\n'
            '  -H "Content-Type: application/json" \\\n'
            f"""  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'""",
        ),
        (
            "Python",
            "python",
            "from openai import OpenAI\n\n"
            f'client = OpenAI(base_url="{base_url}", api_key="{key}")\n'
            "answer = client.chat.completions.create(\n"
            f'    model="{model}", messages=[{{"role": "user", "content": "Hello"}}]\n'
            ")\nprint(answer.choices[0].message.content)",
        ),
        (
            "TypeScript",
            "typescript",
            'import OpenAI from "openai";\n\n'
            f'const client = new OpenAI({{ baseURL: "{base_url}", apiKey: "{key}" }});\n'
            "const answer = await client.chat.completions.create({\n"
            f'  model: "{model}",\n  messages: [{{ role: "user", content: "Hello" }}],\n'
            "});\nconsole.log(answer.choices[0].message.content);",
        ),
        (
            "LangChain",
            "python",
            "from langchain_openai import ChatOpenAI\n\n"
            f'chat = ChatOpenAI(base_url="{base_url}", api_key="{key}", model="{model}")\n'
            'print(chat.invoke("Hello").content)',
        ),
    ]
