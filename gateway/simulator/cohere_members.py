"""Checks of single members of a request's JSON object, with Cohere's messages for what is wrong with them.

Each returns the value, or None where the member is absent or null, and raises Refused.
"""

from typing import Any

from gateway.simulator.cohere_errors import invalid

type Body = dict[str, Any]

_TYPES = {str: "string", bool: "bool", int: "int", float: "float64", list: "array", dict: "object"}


def wrong_type(name: str, expected: str, value: Any) -> Exception:
    return invalid(
        f"invalid type: parameter {name} is of type {_TYPES.get(type(value), 'null')} but should be of type {expected}."
    )


def nothing_else(body: Body, known: frozenset[str]) -> None:
    """Refuse the first member that the API does not have."""
    for name in body:
        if name not in known:
            raise invalid(f"unknown field: parameter '{name}' is not a valid field", 422)


def required(body: Body, name: str) -> Any:
    if body.get(name) is None:
        raise invalid(f"invalid request: {name} is required", 400)
    return body[name]


def text(body: Body, name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise wrong_type(name, "string", value)
    return value


def boolean(body: Body, name: str) -> bool | None:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise wrong_type(name, "bool", value)
    return value


def mapping(body: Body, name: str) -> Body | None:
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise wrong_type(name, "object", value)
    return value


def array(body: Body, name: str) -> list[Any] | None:
    value = body.get(name)
    if value is not None and not isinstance(value, list):
        raise wrong_type(name, "array", value)
    return value


def texts(body: Body, name: str, most: int) -> tuple[str, ...]:
    values = array(body, name) or []
    if not all(isinstance(value, str) for value in values):
        raise wrong_type(name, "[]string", values)
    if len(values) > most:
        raise invalid(f"invalid request: {name} must have at most {most} elements, but has {len(values)}.")
    return tuple(values)


def number(body: Body, name: str, low: float, high: float) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(name, "float32", value)
    if not low <= value <= high:
        raise invalid(f"invalid request: {name} must be between {low} and {high} inclusive.")
    return float(value)


def integer(body: Body, name: str, low: int, high: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, "int", value)
    if not low <= value <= high:
        raise invalid(f"invalid request: {name} must be between {low} and {high} inclusive.")
    return value


def one_of(body: Body, name: str, allowed: tuple[str, ...]) -> str | None:
    value = text(body, name)
    if value is not None and value not in allowed:
        raise invalid(f"invalid request: valid {name} values are {list(allowed)}, got '{value}'.")
    return value
