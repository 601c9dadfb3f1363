"""From a request of Anthropic's Messages API to the canonical chat. Pure.

What another family may honour is passed on under its own name; what only Anthropic's servers could do is left to the
families to refuse. Wire facts: https://platform.claude.com/docs/en/api/messages.
"""

from typing import Any

import msgspec

from gateway.providers.base import Unsupported
from nexus.errors import InvalidRequest

Body = dict[str, Any]

_TRANSLATED = frozenset(
    (
        *("model", "messages", "system", "max_tokens", "stop_sequences", "tools", "tool_choice", "thinking", "stream"),
        *("output_config", "metadata"),
    )
)
# Members that change nothing about the answer's content, or only how Anthropic's own servers make it.
_HINTS = frozenset(
    (
        *("service_tier", "cache_control", "diagnostics", "inference_geo", "user_profile_id", "speed", "container"),
        *("context_management", "betas"),
    )
)
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "xhigh"}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_LOW_BUDGET, _MEDIUM_BUDGET = 4096, 16_384  # tokens of thought, up to which the effort is called low, and medium


def chat_payload(payload: Body) -> Body:
    """Return the body of a chat request that asks the same. Raises InvalidRequest, and Unsupported."""
    chat: Body = {"model": payload["model"], "messages": [*_system(payload), *_messages(payload)]}
    chat |= {name: value for name, value in payload.items() if name not in _TRANSLATED and name not in _HINTS}
    if payload.get("max_tokens") is not None:
        chat["max_completion_tokens"] = payload["max_tokens"]
    if payload.get("stop_sequences"):
        chat["stop"] = payload["stop_sequences"]
    if payload.get("stream") is True:
        chat["stream"] = True
    user = _object(payload, "metadata").get("user_id")
    if isinstance(user, str):
        chat["user"] = user
    return {**chat, **_tools(payload), **_output(payload)}


def _system(payload: Body) -> list[Body]:
    system = payload.get("system")
    if system is None or system in ("", []):
        return []
    return [{"role": "system", "content": system if isinstance(system, str) else _texts(system, "system")}]


def _messages(payload: Body) -> list[Body]:
    messages: list[Body] = []
    for at, message in enumerate(payload["messages"]):
        where = f"messages.{at}"
        if not isinstance(message, dict):
            raise InvalidRequest("A message must be an object.", param=where)
        role, content = message.get("role"), message.get("content")
        if role not in ("user", "assistant", "system"):
            raise Unsupported(f"{where}.role", f"A message of the role `{role}` cannot be translated.")
        if isinstance(content, str):
            messages.append({"role": role, "content": content})
            continue
        blocks = _blocks(content, f"{where}.content")
        if role == "user":
            messages.extend(_user(blocks, f"{where}.content"))
        else:
            messages.append(_assistant(blocks, where) if role == "assistant" else {"role": role, "content": blocks})
    return messages


def _blocks(content: Any, where: str) -> list[Body]:
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise InvalidRequest("Content must be a text or a list of blocks.", param=where)
    return content


def _texts(content: Any, where: str) -> list[Body]:
    return [_text(block, where) for block in _blocks(content, where)]


def _text(block: Body, where: str) -> Body:
    if block.get("type") != "text":
        raise Unsupported(where, f"Content of the type `{block.get('type')}` cannot be translated.")
    if not isinstance(block.get("text"), str):
        raise InvalidRequest("A block of text must have a `text`.", param=where)
    part: Body = {"type": "text", "text": block["text"]}
    return {**part, "cache_control": block["cache_control"]} if block.get("cache_control") else part


def _user(blocks: list[Body], where: str) -> list[Body]:
    """Return what a user's turn becomes: a message for each tool's result, then one with all the rest."""
    results: list[Body] = []
    parts: list[Body] = []
    for block in blocks:
        if block.get("type") != "tool_result":
            parts.append(_part(block, where))
            continue
        content = block.get("content")
        shown = content if isinstance(content, str) else ""
        for inner in _blocks(content, where) if content and not isinstance(content, str) else ():
            if inner.get("type") == "text":
                shown += str(inner.get("text", ""))
            else:
                parts.append(_part(inner, where))  # a tool's message holds text alone
        results.append({"role": "tool", "tool_call_id": str(block.get("tool_use_id", "")), "content": shown})
    return [*results, {"role": "user", "content": parts}] if parts else results


def _part(block: Body, where: str) -> Body:
    kind, source = block.get("type"), block.get("source")
    if kind == "text":
        return _text(block, where)
    if kind not in ("image", "document") or not isinstance(source, dict):
        raise Unsupported(where, f"Content of the type `{kind}` cannot be translated.")
    form = source.get("type")
    if kind == "document" and form == "text":
        return {"type": "text", "text": str(source.get("data", ""))}
    url = source.get("url") if form == "url" else f"data:{source.get('media_type')};base64,{source.get('data')}"
    if form not in ("url", "base64") or not isinstance(url, str):
        raise Unsupported(where, f"A source of the type `{form}` cannot be translated.")
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "file", "file": {"filename": str(block.get("title") or "document.pdf"), "file_data": url}}


def _assistant(blocks: list[Body], where: str) -> Body:
    """Return an assistant's message. Thoughts stay behind: without the family that signed them they are nobody's."""
    text = "".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")
    calls = [_call(block, where) for block in blocks if block.get("type") == "tool_use"]
    message: Body = {"role": "assistant", "content": text or None}
    if calls:
        return {**message, "tool_calls": calls}
    return {**message, "content": text}


def _call(block: Body, where: str) -> Body:
    name, called = block.get("name"), block.get("input")
    if not isinstance(name, str) or not isinstance(called, dict) or not isinstance(block.get("id"), str):
        raise InvalidRequest("A `tool_use` has an `id`, a `name` and an `input`.", param=where)
    arguments = msgspec.json.encode(called).decode()
    return {"id": block["id"], "type": "function", "function": {"name": name, "arguments": arguments}}


def _tools(payload: Body) -> Body:
    tools = payload.get("tools")
    if tools is None or tools == []:
        return {}
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise InvalidRequest("`tools` must be a list of objects.", param="tools")
    told: Body = {"tools": [_tool(tool) for tool in tools]}
    choice = _object(payload, "tool_choice")
    if choice.get("disable_parallel_tool_use") is True:
        told["parallel_tool_calls"] = False
    if choice.get("type") == "tool":
        told["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif choice:
        if not isinstance(choice.get("type"), str) or choice["type"] not in _CHOICES:
            raise Unsupported("tool_choice.type", "This choice of tools cannot be translated.")
        told["tool_choice"] = _CHOICES[choice["type"]]
    return told


def _tool(tool: Body) -> Body:
    if tool.get("type") not in (None, "custom"):
        return tool  # one that Anthropic's servers run: the families refuse it by its type
    function = {"name": tool.get("name"), "parameters": tool.get("input_schema")}
    function |= {name: tool[name] for name in ("description", "strict") if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _output(payload: Body) -> Body:
    config, thinking = _object(payload, "output_config"), _object(payload, "thinking")
    told: Body = {}
    effort, budget = config.get("effort"), thinking.get("budget_tokens")
    if effort is not None:
        if not isinstance(effort, str) or effort not in _EFFORTS:
            raise Unsupported("output_config.effort", f"The effort is one of: {', '.join(_EFFORTS)}.")
        told["reasoning_effort"] = _EFFORTS[effort]
    elif thinking.get("type") == "enabled" and isinstance(budget, int):
        told["reasoning_effort"] = "low" if budget <= _LOW_BUDGET else "medium" if budget <= _MEDIUM_BUDGET else "high"
    wanted = _object(config, "format")
    if wanted:
        schema = {"name": "answer", "schema": wanted.get("schema"), "strict": True}
        told["response_format"] = {"type": "json_schema", "json_schema": schema}
    return told


def _object(payload: Body, name: str) -> Body:
    value = payload.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"`{name}` must be an object.", param=name)
    return value
