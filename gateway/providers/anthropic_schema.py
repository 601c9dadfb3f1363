"""JSON schemas in the subset that Anthropic's structured outputs take. Pure.

Objects must be closed, and limits of size and number are refused. As Anthropic's own SDK does, what cannot be enforced
is told to the model in the description. Facts: https://platform.claude.com/docs/en/build-with-claude/structured-outputs.
"""

from typing import Any

import msgspec

_LIMITS = frozenset(
    (
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength"),
        *("maxItems", "uniqueItems", "contains", "minContains", "maxContains", "minProperties", "maxProperties"),
        *("patternProperties", "propertyNames", "unevaluatedProperties"),
    )
)
_FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"),
)
_MAPS = frozenset(("properties", "$defs", "definitions"))
_LISTS = frozenset(("anyOf", "allOf", "prefixItems"))


def enforceable(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that the API takes and that allows nothing more than the given one allows.

    Its depth is the body's, which the parser limits.
    """
    kept: dict[str, Any] = {}
    told: dict[str, Any] = {}
    for name, value in schema.items():
        if name in _MAPS and isinstance(value, dict):
            kept[name] = {key: _part(part) for key, part in value.items()}
        elif (name in _LISTS or name == "oneOf") and isinstance(value, list):
            kept["anyOf" if name == "oneOf" else name] = [_part(part) for part in value]
        elif name == "items":
            kept[name] = _part(value)
        elif (
            name in _LIMITS
            or (name == "format" and value not in _FORMATS)
            or (name == "minItems" and value not in (0, 1))
        ):
            told[name] = value
        else:
            kept[name] = value
    kinds = schema.get("type")
    if kinds == "object" or (isinstance(kinds, list) and "object" in kinds) or "properties" in schema:
        kept["additionalProperties"] = False
    if told:
        note = ", ".join(f"{name}: {msgspec.json.encode(value).decode()}" for name, value in told.items())
        kept["description"] = f"{schema['description']}\n\n{{{note}}}" if schema.get("description") else f"{{{note}}}"
    return kept


def _part(part: Any) -> Any:
    return enforceable(part) if isinstance(part, dict) else part
