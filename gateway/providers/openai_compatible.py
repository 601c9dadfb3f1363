"""Every server that speaks OpenAI's API at another address: vLLM, Ollama, Groq, Together, DeepSeek, OpenRouter and kin.

The wire is OpenAI's; the base URL has no default, and a key is optional. `options.preset` names a vendor whose ways are
known (see `presets`): its requests are fitted to it where they must be, member by member, and else pass untouched.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from gateway.providers.base import Target, Unsupported, UpstreamRequest
from gateway.providers.chat import Chat
from gateway.providers.openai import OPENAI
from gateway.providers.presets import PRESETS, Preset
from gateway.schema import Endpoint, ModelRequest

_LIMITS = ("max_completion_tokens", "max_tokens")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_messages = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_encode = msgspec.json.encode
_SYSTEM = msgspec.Raw(b'"system"')


def build_request(request: ModelRequest, target: Target) -> UpstreamRequest:
    """Return the upstream request: the client's body, fitted to the preset if there is one. Raises Unsupported."""
    upstream = OPENAI.build_request(request, target)
    preset = PRESETS.get(target.options.get("preset", ""))
    if preset is None or request.endpoint is Endpoint.EMBEDDINGS:
        return upstream
    drop = target.options.get("drop_unsupported") is True
    dropped = _dropped(preset, request.payload, target.upstream_model, drop=drop)
    changes = _Changes(preset, request, dropped)
    if not changes.needed:
        return upstream
    return UpstreamRequest(upstream.path, upstream.headers, changes.applied(upstream.body), dropped)


def _dropped(preset: Preset, payload: dict[str, Any], model: str, *, drop: bool) -> tuple[str, ...]:
    """Return the members to leave out, which are at odds with the preset. Raises Unsupported without `drop`."""
    refused = preset.refuses(model)
    given = {name: value for name, value in payload.items() if name in refused}
    dropped = Chat((), payload=given).unhonoured(frozenset(), drop=drop)
    wanted = payload.get("response_format")
    if not preset.json_schema and isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        if not drop:
            raise Unsupported("response_format", f"{preset.words} has no JSON schemas, only `json_object`.")
        dropped = (*dropped, "response_format")
    return dropped


class _Changes:
    """What has to change in a body for a preset."""

    def __init__(self, preset: Preset, request: ModelRequest, dropped: tuple[str, ...]) -> None:
        self._preset = preset
        self._dropped = dropped
        payload, limit = request.payload, preset.max_tokens_field
        self._other_limits = tuple(name for name in _LIMITS if limit and name != limit and name in payload)
        self._no_stream_options = request.stream and not preset.stream_usage
        self._rewrites_messages = any(map(self._touches, payload.get("messages") or ()))

    @property
    def needed(self) -> bool:
        return bool(self._dropped or self._other_limits or self._no_stream_options or self._rewrites_messages)

    def applied(self, body: bytes) -> bytes:
        """Return the body with the changes; all other members keep their bytes."""
        members = _members(body)
        for name in self._dropped:
            members.pop(name, None)
        for name in self._other_limits:
            members.setdefault(self._preset.max_tokens_field, members.pop(name))
        if self._no_stream_options:
            members.pop("stream_options", None)
        if self._rewrites_messages:
            told = [self._fitted(message) for message in _messages(members["messages"])]
            members["messages"] = msgspec.Raw(_encode(told))
        return _encode(members)

    def _touches(self, message: Any) -> bool:
        if not isinstance(message, dict):
            return False  # the server's to judge
        developer = message.get("role") == "developer" and not self._preset.developer_role
        return developer or not self._preset.left_out_of_messages.isdisjoint(message)

    def _fitted(self, message: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
        preset = self._preset
        left_out = preset.left_out_of_messages
        if preset.keeps_reasoning_of_calls and bytes(message.get("tool_calls", b"null")) not in (b"null", b"[]"):
            left_out -= {"reasoning_content"}
        told = {name: value for name, value in message.items() if name not in left_out}
        if not preset.developer_role and bytes(message.get("role", b"")) == b'"developer"':
            told["role"] = _SYSTEM
        return told


def own_base_url(options: Mapping[str, Any]) -> str:
    """Return the address of the preset; empty without one."""
    preset = PRESETS.get(options.get("preset", ""))
    return preset.base_url if preset is not None else ""


OPENAI_COMPATIBLE = replace(
    OPENAI,
    family="openai_compatible",
    default_base_url="",
    build_request=build_request,
    own_base_url=own_base_url,
)
