"""Checks of single members of a request's JSON object, with Mistral's messages for what is wrong with them.

Each returns the value, or None where the member is absent or null, and raises Refused. `where` is the path of the
object that the member is in.
"""

from typing import Any

from gateway.simulator.mistral_errors import misfit

type Body = dict[str, Any]
type Path = tuple[str | int, ...]


def required(body: Body, name: str, where: Path = ()) -> Any:
    if body.get(name) is None:
        raise misfit("missing", (*where, name), "Field required", body)
    return body[name]


def nothing_else(body: Body, known: frozenset[str], where: Path = ()) -> None:
    """Refuse the first member that the schema does not have."""
    for name in body:
        if name not in known:
            raise misfit("extra_forbidden", (*where, name), "Extra inputs are not permitted", body[name])


def text(body: Body, name: str, where: Path = ()) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise misfit("string_type", (*where, name), "Input should be a valid string", value)
    return value


def boolean(body: Body, name: str, where: Path = ()) -> bool | None:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise misfit("bool_type", (*where, name), "Input should be a valid boolean", value)
    return value


def mapping(body: Body, name: str, where: Path = ()) -> Body | None:
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise misfit("dict_type", (*where, name), "Input should be a valid dictionary", value)
    return value


def array(body: Body, name: str, where: Path = ()) -> list[Any] | None:
    value = body.get(name)
    if value is not None and not isinstance(value, list):
        raise misfit("list_type", (*where, name), "Input should be a valid list", value)
    return value


def number(body: Body, name: str, low: float, high: float) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise misfit("float_type", (name,), "Input should be a valid number", value)
    _bounds(name, value, low, high)
    return float(value)


def integer(body: Body, name: str, low: int, high: int | None = None) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise misfit("int_type", (name,), "Input should be a valid integer", value)
    _bounds(name, value, low, high)
    return value


def one_of(body: Body, name: str, allowed: tuple[str, ...], where: Path = ()) -> str | None:
    value = body.get(name)
    if value is not None and value not in allowed:
        listed = ", ".join(f"'{option}'" for option in allowed[:-1]) + f" or '{allowed[-1]}'"
        raise misfit("literal_error", (*where, name), f"Input should be {listed}", value)
    return value


def texts(body: Body, name: str) -> tuple[str, ...]:
    """Return a member that may be a text or a list of texts."""
    value = body.get(name)
    if isinstance(value, str):
        return (value,)
    for index, item in enumerate(array(body, name) or ()):
        if not isinstance(item, str):
            raise misfit("string_type", (name, index), "Input should be a valid string", item)
    return tuple(value or ())


def _bounds(name: str, value: float, low: float, high: float | None) -> None:
    if value < low:
        raise misfit("greater_than_equal", (name,), f"Input should be greater than or equal to {low}", value)
    if high is not None and value > high:
        raise misfit("less_than_equal", (name,), f"Input should be less than or equal to {high}", value)
