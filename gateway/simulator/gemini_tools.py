"""Function declarations, calls and their thought signatures."""

import base64
import re
import zlib
from typing import Any

import msgspec

from gateway.simulator.content import Tool
from gateway.simulator.gemini_errors import invalid
from gateway.simulator.gemini_messages import Body, decoded_base64

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}\Z")
_SIGNED = b"simulated-signature:"
# What Google takes in the place of a signature, for calls that another model made.
_DUMMIES = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")


def checked_tools(body: Body) -> tuple[Tool, ...]:
    """Return the functions that are declared. Raises Refused."""
    found: list[Tool] = []
    for tool_index, tool in enumerate(body.get("tools", ())):
        for index, declaration in enumerate(tool.get("functionDeclarations", ())):
            where = f"GenerateContentRequest.tools[{tool_index}].function_declarations[{index}]"
            found.append(_checked_declaration(declaration, where))
    names = [tool.name for tool in found]
    for name in names:
        if names.count(name) > 1:
            raise invalid(f"Duplicate function declaration found: {name}")
    _check_calling(body, names)
    return tuple(found)


def called_tools(body: Body, tools: tuple[Tool, ...], *, after_tool: bool) -> tuple[Tool, ...]:
    """Return the functions that the answer calls: none by mode NONE, or after a function's result."""
    calling = _calling(body)
    mode = calling.get("mode", "AUTO")
    if mode == "NONE" or (after_tool and mode != "ANY"):
        return ()
    allowed = calling.get("allowedFunctionNames")
    return tuple(tool for tool in tools if tool.name in allowed) if allowed else tools


def check_turns(contents: list[Body], *, signed: bool) -> None:
    """Refuse calls without results and results without calls; with `signed`, also calls of this turn without signature.

    The turn begins with the last thing that the user said. Of the calls of one step the first carries the signature.
    """
    began = max((at for at, content in enumerate(contents) if _is_said(content)), default=0)
    for at, content in enumerate(contents):
        results = [part for part in content["parts"] if "functionResponse" in part]
        before = _calls(contents[at - 1]) if at else []
        if results and not before:
            raise invalid("Please ensure that function response turn comes immediately after a function call turn.")
        if len(results) != len(before):
            raise invalid(
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn."
            )
        calls = _calls(content)
        if calls and (at == 0 or contents[at - 1].get("role") == "model"):
            raise invalid(
                "Please ensure that function call turn comes immediately after a user turn or after a function "
                "response turn."
            )
        if signed and calls:
            _check_signatures(calls, at, required=at > began)
    if _calls(contents[-1]):
        raise invalid("Please ensure that function call turn is followed by a function response turn.")


def signature(name: str, args: Any) -> str:
    """Return the thought signature of a call: base64, and good for this call alone."""
    return base64.b64encode(_SIGNED + b"%08x" % zlib.crc32(_call_bytes(name, args))).decode()


def json_schema_of(schema: Any) -> Any:
    """Return an OpenAPI schema of Google's as a JSON schema: types in lower case, `nullable` as a type."""
    if isinstance(schema, list):
        return [json_schema_of(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain: dict[str, Any] = {
        name: {key: json_schema_of(item) for key, item in value.items()}
        if name == "properties"
        else json_schema_of(value)
        for name, value in schema.items()
        if name not in ("nullable", "propertyOrdering")
    }
    if isinstance(plain.get("type"), str):
        plain["type"] = plain["type"].lower()
    return plain


def _checked_declaration(declaration: Body, where: str) -> Tool:
    name = declaration.get("name", "")
    if not _NAME.match(name):
        raise invalid(
            f"* {where}.name: [Invalid function name. Must start with a letter or an underscore. Must be alphanumeric "
            "(a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 64.]\n"
        )
    openapi, schema = declaration.get("parameters"), declaration.get("parametersJsonSchema")
    if openapi is not None and schema is not None:
        raise invalid(f"* {where}: only one of parameters and parameters_json_schema can be set.\n")
    if schema is not None and not isinstance(schema, dict):
        raise invalid(f"* {where}.parameters_json_schema: not a JSON schema.\n")
    if openapi is not None:
        schema = json_schema_of(openapi)
    if schema is not None and schema.get("type", "object") != "object":
        raise invalid(f"* {where}.parameters.type: parameters schema should be of type OBJECT\n")
    return Tool(name, schema or {"type": "object", "properties": {}})


def _check_calling(body: Body, names: list[str]) -> None:
    calling = _calling(body)
    if calling and not names:
        raise invalid("Function calling config is set without function_declarations.")
    allowed = calling.get("allowedFunctionNames")
    if not allowed:
        return
    if calling.get("mode") not in ("ANY", "VALIDATED"):
        raise invalid("Function calling config: allowed_function_names should only be set when mode is ANY.")
    for name in allowed:
        if name not in names:
            raise invalid(f"allowed_function_names: function {name} is not declared.")


def _calling(body: Body) -> Body:
    calling: Body = body.get("toolConfig", {}).get("functionCallingConfig", {})
    return calling


def _is_said(content: Body) -> bool:
    return content.get("role", "user") == "user" and any("functionResponse" not in part for part in content["parts"])


def _calls(content: Body) -> list[Body]:
    return [part for part in content["parts"] if "functionCall" in part]


def _check_signatures(calls: list[Body], at: int, *, required: bool) -> None:
    call, given = calls[0]["functionCall"], calls[0].get("thoughtSignature")
    if given is None and required:
        raise invalid(
            "Function call is missing a thought_signature in functionCall parts. This is required for tools to work "
            "correctly, and missing thought_signature may lead to degraded model performance. Additional data, "
            f"function call `default_api:{call['name']}`, position {at + 1}. Please refer to "
            "https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
        )
    for part in calls:
        given = part.get("thoughtSignature")
        if given is None or given in _DUMMIES:
            continue
        call = part["functionCall"]
        if decoded_base64(given) != decoded_base64(signature(call["name"], call.get("args", {}))):
            raise invalid("Corrupted thought signature.")


def _call_bytes(name: str, args: Any) -> bytes:
    return msgspec.json.encode([name, args], order="sorted")
