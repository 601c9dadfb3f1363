"""The form of a provider connection: text fields in, what the API's serializer takes out, and what is wrong with it."""

from collections.abc import Mapping
from typing import Any

from gateway.models import Provider
from gateway.providers.presets import PRESETS
from gateway.providers.registry import FAMILIES

FAMILY_WORDS: Mapping[str, str] = {
    "openai": "OpenAI",
    "openai_compatible": "OpenAI-compatible (vLLM, Ollama, Groq, OpenRouter …)",
    "anthropic": "Anthropic",
    "gemini": "Google Gemini",
    "azure_openai": "Azure OpenAI",
    "bedrock": "Amazon Bedrock",
    "mistral": "Mistral",
    "cohere": "Cohere",
}
_TEXT_OPTIONS = (  # the others a family may have are kept as they are
    "organization",
    "project",
    "anthropic_version",
    "region",
    "access_key_id",
    "api_version",
    "preset",
)
_VERTEX_FIELDS = (("vertex_project", "project"), ("vertex_location", "location"))
_SEPARATOR = "="


def families() -> list[tuple[str, str, str]]:
    """Return the families that can be connected: name, words, and the address that each has by itself."""
    return [(name, FAMILY_WORDS.get(name, name), adapter.default_base_url) for name, adapter in FAMILIES.items()]


def words_of(provider: Provider) -> str:
    """Return what a connection is to people: its vendor, where a preset names one, else its family."""
    preset = PRESETS.get(provider.options.get("preset", ""))
    return preset.words if preset is not None else FAMILY_WORDS.get(provider.family, provider.family)


def presets() -> list[tuple[str, str, str]]:
    """Return the vendors that the compatible family knows: name, words, and address."""
    return [(preset.name, preset.words, preset.base_url) for preset in PRESETS.values()]


def initial(provider: Provider | None, models: Mapping[str, str]) -> dict[str, Any]:
    """Return what the form shows at first. Never a key."""
    if provider is None:
        return {"family": "openai", "weight": 100, "timeout_s": 60, "enabled": True}
    return {
        "name": provider.name,
        "family": provider.family,
        "base_url": provider.base_url,
        "weight": provider.weight,
        "timeout_s": provider.timeout_s,
        "enabled": provider.enabled,
        "models": models_text(models),
        "drop_unsupported": bool(provider.options.get("drop_unsupported")),
        **{name: provider.options.get(name, "") for name in _TEXT_OPTIONS},
        **{field: provider.options.get("vertex", {}).get(name, "") for field, name in _VERTEX_FIELDS},
    }


def given(posted: Mapping[str, str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a posted form as the body that the API would get. An empty key field leaves the key as it is."""
    shown = (*_TEXT_OPTIONS, "drop_unsupported", "vertex")
    changed = {name: value for name, value in options.items() if name not in shown}
    changed |= {name: posted[name].strip() for name in _TEXT_OPTIONS if posted.get(name, "").strip()}
    vertex = {name: posted[field].strip() for field, name in _VERTEX_FIELDS if posted.get(field, "").strip()}
    if vertex:
        changed["vertex"] = vertex
    if posted.get("drop_unsupported"):
        changed["drop_unsupported"] = True
    body: dict[str, Any] = {name: posted.get(name, "").strip() for name in ("name", "base_url", "weight", "timeout_s")}
    body |= {"enabled": bool(posted.get("enabled")), "models": models_of(posted.get("models", "")), "options": changed}
    if posted.get("api_key", "").strip():
        body["api_key"] = posted["api_key"].strip()
    elif posted.get("forget_key"):
        body["api_key"] = ""
    return body


def models_of(text: str) -> dict[str, str]:
    """Read models, one a line: `public = upstream`, or one name for both."""
    models = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        public, separator, upstream = line.partition(_SEPARATOR)
        models[public.strip()] = upstream.strip() if separator else line
    return models


def models_text(models: Mapping[str, str]) -> str:
    """Write models as `models_of` reads them."""
    return "\n".join(
        public if public == upstream else f"{public} {_SEPARATOR} {upstream}" for public, upstream in models.items()
    )
