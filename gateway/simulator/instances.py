"""A JSON value that fits a JSON schema, always the same one.

All properties are given, optional ones too, until a schema refers to itself too deeply. Patterns cannot be fitted.
"""

from typing import Any

MAX_DEPTH = 6
_FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "simulated@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/simulated",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def instance_of(schema: dict[str, Any]) -> Any:
    """Return a value that the schema accepts."""
    return _instance(schema, schema, "value", 0)


def _instance(schema: Any, root: dict[str, Any], name: str, depth: int) -> Any:
    if not isinstance(schema, dict):
        return f"simulated {name}"  # the schema `true` accepts anything
    for chooser in ("const", "enum", "$ref", "anyOf", "oneOf", "allOf"):
        if chooser in schema:
            return _chosen(chooser, schema, root, name, depth)
    match _type(schema):
        case "object":
            return _object(schema, root, depth)
        case "array":
            return _array(schema, root, name, depth)
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return True
        case "null":
            return None
    return _string(schema, name)


def _chosen(chooser: str, schema: dict[str, Any], root: dict[str, Any], name: str, depth: int) -> Any:
    value = schema[chooser]
    if chooser == "const":
        return value
    if chooser == "$ref":
        return _instance(_referred(str(value), root), root, name, depth + 1)
    if not isinstance(value, list) or not value:
        return f"simulated {name}"
    if chooser == "enum":
        return value[0]
    if chooser == "allOf":
        return _instance(_merged(schema, root), root, name, depth + 1)
    nullable = [option for option in value if isinstance(option, dict) and option.get("type") == "null"]
    if nullable and depth > MAX_DEPTH:
        return None
    return _instance(next((option for option in value if option not in nullable), value[0]), root, name, depth + 1)


def _type(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((option for option in kind if option != "null"), "null")
    if isinstance(kind, str):
        return kind
    return "object" if "properties" in schema else "array" if "items" in schema else "string"


def _object(schema: dict[str, Any], root: dict[str, Any], depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    if depth > 2 * MAX_DEPTH:  # a schema that requires itself without end has no instance
        return {}
    required = schema.get("required", [])
    return {
        name: _instance(part, root, name, depth + 1)
        for name, part in properties.items()
        if depth < MAX_DEPTH or name in required
    }


def _array(schema: dict[str, Any], root: dict[str, Any], name: str, depth: int) -> list[Any]:
    least = schema.get("minItems", 0 if depth > MAX_DEPTH else 1)
    first = schema.get("prefixItems", [])
    items = [_instance(part, root, name, depth + 1) for part in first]
    if "items" in schema or not first:
        items.extend(_instance(schema.get("items"), root, name, depth + 1) for _ in range(least - len(items)))
    return items[: schema.get("maxItems", len(items))]


def _number(schema: dict[str, Any]) -> float | int:
    step = schema.get("multipleOf", 1)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    value = step
    if low is not None and (value < low or (value == low and "minimum" not in schema)):
        value = -(-low // step) * step
        value += step if value == low and "minimum" not in schema else 0
    if high is not None and (value > high or (value == high and "maximum" not in schema)):
        value = high // step * step
        value -= step if value == high and "maximum" not in schema else 0
    return value  # type: ignore[no-any-return]  # numbers of an untyped schema


def _string(schema: dict[str, Any], name: str) -> str:
    text = _FORMATS.get(schema.get("format", ""), f"simulated {name}")
    text = text.ljust(schema.get("minLength", 0), "x")
    return text[: schema.get("maxLength", len(text))]


def _referred(reference: str, root: dict[str, Any]) -> Any:
    """Return what a local reference (`#/$defs/Name`) points to."""
    target: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if key:
            target = target.get(key, {}) if isinstance(target, dict) else {}
    return target


def _merged(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        resolved = _referred(str(part["$ref"]), root) if isinstance(part, dict) and "$ref" in part else part
        if isinstance(resolved, dict):
            both = {**merged.get("properties", {}), **resolved.get("properties", {})}
            merged |= resolved
            if both:
                merged["properties"] = both
    return merged
