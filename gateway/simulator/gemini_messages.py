"""The messages of the Gemini API as Google's JSON reads them: camelCase or snake_case names, and no other names at all.

`read` turns a payload into its canonical form, camelCase names, and refuses what does not fit. What the fields mean is
for others to check.
"""

import base64
import binascii
import re
from typing import Any

from gateway.simulator.gemini_errors import invalid_field

type Body = dict[str, Any]
type Kind = str | tuple[str, ...] | list[Kind]  # a type or a message by name, an enum, or a list of one of them

_SCHEMA: dict[str, Kind] = {
    **dict.fromkeys(("type", "format", "title", "description", "pattern"), "string"),
    **dict.fromkeys(("maxItems", "minItems", "minProperties", "maxProperties", "minLength", "maxLength"), "any"),
    **dict.fromkeys(("minimum", "maximum"), "float"),
    **{name: ["string"] for name in ("enum", "required", "propertyOrdering")},
    **dict.fromkeys(("example", "default"), "any"),
    "nullable": "bool",
    "items": "Schema",
    "properties": "Schemas",
    "anyOf": ["Schema"],
}
_GENERATION_CONFIG: dict[str, Kind] = {
    **dict.fromkeys(("temperature", "topP", "topK", "presencePenalty", "frequencyPenalty"), "float"),
    **dict.fromkeys(("candidateCount", "maxOutputTokens", "seed", "logprobs"), "int"),
    **dict.fromkeys(("responseLogprobs", "enableEnhancedCivicAnswers", "audioTimestamp"), "bool"),
    **dict.fromkeys(("speechConfig", "imageConfig", "routingConfig", "audioTranscriptionConfig"), "struct"),
    "stopSequences": ["string"],
    "responseModalities": ["string"],
    "responseMimeType": "string",
    "responseSchema": "Schema",
    "responseJsonSchema": "any",
    "mediaResolution": "string",
    "thinkingConfig": "ThinkingConfig",
}
MESSAGES: dict[str, dict[str, Kind]] = {
    "GenerateContentRequest": {
        "model": "string",
        "contents": ["Content"],
        "systemInstruction": "Content",
        "tools": ["Tool"],
        "toolConfig": "ToolConfig",
        "safetySettings": ["struct"],
        "generationConfig": "GenerationConfig",
        "cachedContent": "string",
        "labels": "struct",
        "serviceTier": "string",
        "store": "bool",
    },
    "CountTokensRequest": {"contents": ["Content"], "generateContentRequest": "GenerateContentRequest"},
    "BatchEmbedContentsRequest": {"requests": ["EmbedContentRequest"]},
    "EmbedContentRequest": {
        **dict.fromkeys(("model", "taskType", "title"), "string"),
        "content": "Content",
        "outputDimensionality": "int",
    },
    "PredictRequest": {"instances": ["Instance"], "parameters": "struct", "labels": "struct"},
    "Instance": {"content": "string", "taskType": "string", "title": "string"},
    "Content": {"role": "string", "parts": ["Part"]},
    "Part": {
        "text": "string",
        "thought": "bool",
        "thoughtSignature": "bytes",
        "inlineData": "Blob",
        "fileData": "FileData",
        "functionCall": "FunctionCall",
        "functionResponse": "FunctionResponse",
        **dict.fromkeys(("executableCode", "codeExecutionResult", "videoMetadata", "partMetadata"), "struct"),
    },
    "Blob": {"mimeType": "string", "data": "bytes", "displayName": "string"},
    "FileData": {"mimeType": "string", "fileUri": "string", "displayName": "string"},
    "FunctionCall": {"id": "string", "name": "string", "args": "struct"},
    "FunctionResponse": {
        "id": "string",
        "name": "string",
        "response": "struct",
        "willContinue": "bool",
        "scheduling": "string",
        "parts": ["struct"],
    },
    "Tool": {
        "functionDeclarations": ["FunctionDeclaration"],
        **dict.fromkeys(
            ("googleSearch", "googleSearchRetrieval", "codeExecution", "urlContext", "googleMaps"), "struct"
        ),
    },
    "FunctionDeclaration": {
        **dict.fromkeys(("name", "description", "behavior"), "string"),
        **dict.fromkeys(("parameters", "response"), "Schema"),
        **dict.fromkeys(("parametersJsonSchema", "responseJsonSchema"), "any"),
    },
    "ToolConfig": {"functionCallingConfig": "FunctionCallingConfig", "retrievalConfig": "struct"},
    "FunctionCallingConfig": {
        "mode": ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"),
        "allowedFunctionNames": ["string"],
    },
    "GenerationConfig": _GENERATION_CONFIG,
    "ThinkingConfig": {
        "includeThoughts": "bool",
        "thinkingBudget": "int",
        "thinkingLevel": ("THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH"),
    },
    "Schema": _SCHEMA,
}
_CAPITAL = re.compile(r"[A-Z]")
_SNAKE = re.compile(r"_([a-z])")
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "bytes": (str,),
    "struct": (dict,),
}
_MAX_DEPTH = 64  # of nested schemas; protobuf's own limit is 100


def read(message: str, value: Any, path: str = "", depth: int = 0) -> Body:
    """Return a message with canonical names and without null fields. Raises Refused."""
    if not isinstance(value, dict):
        raise _bad_value(path, f"type.googleapis.com/google.ai.generativelanguage.v1beta.{message}", value)
    if depth > _MAX_DEPTH:
        raise invalid_field("Invalid JSON payload received. Message too deep. Max recursion depth reached", path)
    fields, found = MESSAGES[message], {}
    for given, item in value.items():
        name = _SNAKE.sub(lambda match: match[1].upper(), given)
        if name not in fields:
            where = f" at '{path}'" if path else ""
            raise invalid_field(
                f'Invalid JSON payload received. Unknown name "{given}"{where}: Cannot find field.', path
            )
        if item is not None:
            found[name] = _value(fields[name], item, f"{path}.{_snake(name)}" if path else _snake(name), depth + 1)
    return found


def _value(kind: Kind, value: Any, path: str, depth: int) -> Any:
    if isinstance(kind, list):
        items = value if isinstance(value, list) else [value]
        return [_value(kind[0], item, f"{path}[{index}]", depth) for index, item in enumerate(items)]
    if isinstance(kind, tuple):
        word = value.upper() if isinstance(value, str) else value
        if word not in kind:
            raise _bad_value(path, "TYPE_ENUM", value)
        return word
    if kind == "Schemas":
        if not isinstance(value, dict):
            raise _bad_value(path, "TYPE_MESSAGE", value)
        return {
            name: read("Schema", item, f"{path}[{index}].value", depth)
            for index, (name, item) in enumerate(value.items())
        }
    if kind in MESSAGES:
        return read(kind, value, path, depth)
    types = _PYTHON_TYPES.get(kind)
    if types is not None and (not isinstance(value, types) or (isinstance(value, bool) and kind != "bool")):
        raise _bad_value(path, f"TYPE_{kind.upper()}", value)
    if kind == "bytes":
        _check_base64(value, path)
    return value


def decoded_base64(value: str) -> bytes:
    """Return the bytes of a text in either alphabet of base64, with padding or without."""
    standard = value.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)


def _check_base64(value: str, path: str) -> None:
    try:
        decoded_base64(value)
    except (binascii.Error, ValueError):
        raise invalid_field(
            f"Invalid value at '{path}' (TYPE_BYTES), Base64 decoding failed for \"{value[:40]}\"", path
        ) from None


def _bad_value(path: str, expected: str, value: Any) -> Exception:
    shown = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else value
    return invalid_field(f"Invalid value at '{path}' ({expected}), {shown}", path)


def _snake(name: str) -> str:
    return _CAPITAL.sub(lambda match: f"_{match[0].lower()}", name)
