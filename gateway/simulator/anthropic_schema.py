"""Which JSON schemas Anthropic's structured outputs take: a subset, and what is outside of it is refused.

Facts: https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations.
"""

from typing import Any

from gateway.simulator.anthropic_errors import invalid

_UNSUPPORTED = {
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": ("minLength", "maxLength"),
    "array": ("maxItems", "uniqueItems", "contains", "minContains", "maxContains"),
    "object": ("minProperties", "maxProperties", "patternProperties", "propertyNames"),
}


def check_schema(schema: dict[str, Any], where: str) -> None:
    """Refuse what the schema must not say, at any depth. Raises Refused."""
    waiting: list[Any] = [schema]
    while waiting:
        part = waiting.pop()
        if not isinstance(part, dict):
            continue
        _check_part(part, where)
        for name in ("properties", "$defs", "definitions"):
            waiting.extend(part[name].values() if isinstance(part.get(name), dict) else ())
        for name in ("anyOf", "allOf", "prefixItems"):
            waiting.extend(part[name] if isinstance(part.get(name), list) else ())
        waiting.append(part.get("items"))


def _check_part(part: dict[str, Any], where: str) -> None:
    if "oneOf" in part:
        raise invalid(f"{where}: Schema type 'oneOf' is not supported")
    kinds = part.get("type")
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind == "object" and part.get("additionalProperties") is not False:
            raise invalid(f"{where}: For 'object' type, 'additionalProperties' must be explicitly set to false")
        found = [name for name in _UNSUPPORTED.get(str(kind), ()) if name in part]
        if found:
            raise invalid(f"{where}: For '{kind}' type, properties {', '.join(found)} are not supported")
        if kind == "array" and part.get("minItems", 0) not in (0, 1):
            raise invalid(f"{where}: For 'array' type, 'minItems' values other than 0 or 1 are not supported")
