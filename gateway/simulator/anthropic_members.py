"""Checks of single members of a request's JSON object, with Anthropic's messages for what is wrong with them.

Each returns the value, or None where the member is absent or null, and raises Refused.
"""

from typing import Any

from gateway.simulator.anthropic_errors import extra, invalid, missing

type Body = dict[str, Any]


def only(body: Body, known: frozenset[str], where: str = "") -> None:
    """Refuse members that the API does not know."""
    for name in body:
        if name not in known:
            raise extra(f"{where}.{name}" if where else name)


def text(body: Body, name: str, where: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise invalid(f"{where}: Input should be a valid string")
    return value


def required_text(body: Body, name: str, where: str) -> str:
    value = text(body, name, where)
    if value is None:
        raise missing(where)
    return value


def boolean(body: Body, name: str, where: str) -> bool | None:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise invalid(f"{where}: Input should be a valid boolean")
    return value


def mapping(body: Body, name: str, where: str) -> Body | None:
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise invalid(f"{where}: Input should be a valid dictionary")
    return value


def items(body: Body, name: str, where: str) -> list[Any] | None:
    value = body.get(name)
    if value is not None and not isinstance(value, list):
        raise invalid(f"{where}: Input should be a valid list")
    return value


def integer(body: Body, name: str, where: str, *, least: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid(f"{where}: Input should be a valid integer")
    if value < least:
        raise invalid(f"{where}: must be greater than or equal to {least}")
    return value


def share(body: Body, name: str) -> float | None:
    """Return a number from 0 to 1."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid(f"{name}: Input should be a valid number")
    if not 0 <= value <= 1:
        raise invalid(f"{name}: range: 0..1")
    return float(value)


def one_of(body: Body, name: str, allowed: tuple[str, ...], where: str) -> str | None:
    value = body.get(name)
    if value is not None and value not in allowed:
        quoted = [f"'{option}'" for option in allowed]
        listed = f"{', '.join(quoted[:-1])} or {quoted[-1]}" if len(quoted) > 1 else quoted[0]
        raise invalid(f"{where}: Input should be {listed}")
    return value


def tag(body: Any, allowed: tuple[str, ...], where: str) -> str:
    """Return the `type` of one object out of several kinds."""
    if not isinstance(body, dict):
        raise invalid(f"{where}: Input should be a valid dictionary or object to extract fields from")
    kind = body.get("type")
    if kind is None:
        raise missing(f"{where}.type")
    if not isinstance(kind, str) or kind not in allowed:
        listed = ", ".join(f"'{option}'" for option in allowed)
        raise invalid(
            f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {listed}"
        )
    return kind
