"""Checks of single members of a request's JSON object, with OpenAI's messages for what is wrong with them.

Each returns the value, or None where the member is absent or null, and raises Refused.
"""

from typing import Any

from gateway.simulator.dialect import Refused
from gateway.simulator.openai_errors import invalid

type Body = dict[str, Any]

_TYPES = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    list: "an array",
    dict: "an object",
}


def type_name(value: Any) -> str:
    return "null" if value is None else _TYPES[type(value)]


def wrong_type(param: str, expected: str, value: Any) -> Refused:
    return invalid(
        f"Invalid type for '{param}': expected {expected}, but got {type_name(value)} instead.",
        param=param,
        code="invalid_type",
    )


def missing(param: str) -> Refused:
    return invalid(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def unsupported(param: str, reason: str) -> Refused:
    return invalid(f"Unsupported parameter: '{param}' {reason}", param=param, code="unsupported_parameter")


def text(body: Body, name: str, *, param: str = "") -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise wrong_type(param or name, "a string", value)
    return value


def boolean(body: Body, name: str) -> bool | None:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise wrong_type(name, "a boolean", value)
    return value


def mapping(body: Body, name: str, *, param: str = "") -> Body | None:
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise wrong_type(param or name, "an object", value)
    return value


def number(body: Body, name: str, low: float, high: float) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(name, "a decimal", value)
    _bounds(name, "decimal", value, low, high)
    return float(value)


def integer(body: Body, name: str, low: int, high: int | None = None) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, "an integer", value)
    _bounds(name, "integer", value, low, high)
    return value


def one_of(body: Body, name: str, allowed: tuple[str, ...], *, param: str = "") -> str | None:
    value = text(body, name, param=param)
    if value is not None and value not in allowed:
        raise invalid_value(param or name, value, allowed)
    return value


def invalid_value(param: str, value: Any, allowed: tuple[str, ...]) -> Refused:
    quoted = [f"'{option}'" for option in allowed]
    listed = ", ".join(quoted[:-1]) + f", and {quoted[-1]}" if len(quoted) > 1 else quoted[0]
    return invalid(f"Invalid value: '{value}'. Supported values are: {listed}.", param=param, code="invalid_value")


def stop_sequences(body: Body) -> tuple[str, ...]:
    """Return `stop` as a tuple: it may be a string or up to four."""
    value = body.get("stop")
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise wrong_type("stop", "a string or an array of strings", value)
    if len(value) > 4:
        raise invalid(
            f"Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length "
            f"{len(value)} instead.",
            param="stop",
            code="array_above_max_length",
        )
    return tuple(value)


def _bounds(name: str, kind: str, value: float, low: float | None, high: float | None) -> None:
    if low is not None and value < low:
        raise invalid(
            f"Invalid '{name}': {kind} below minimum value. Expected a value >= {low}, but got {value} instead.",
            param=name,
            code=f"{kind}_below_min_value",
        )
    if high is not None and value > high:
        raise invalid(
            f"Invalid '{name}': {kind} above maximum value. Expected a value <= {high}, but got {value} instead.",
            param=name,
            code=f"{kind}_above_max_value",
        )
