"""Spool records as tests write them. No Django here: children of the tests import it."""

from typing import Any
from uuid import UUID

from gateway.records import Finished, RouteFacts, Started
from nexus.ids import uuid7

COST = "0.000123456"
ROUTE = RouteFacts("openai", str(uuid7()), "gpt-4o-2024", {"input": "2.5", "output": "10"})


def started(tenant: UUID | str, id_: str | None = None, **fields: Any) -> Started:
    defaults: dict[str, Any] = {"model": "gpt-4o", "endpoint": "chat/completions", "streamed": False}
    return Started(
        id=id_ or str(uuid7()), tenant=str(tenant), key=str(uuid7()), input_estimate=7, **{**defaults, **fields}
    )


def finished(tenant: UUID | str, id_: str | None = None, **fields: Any) -> Finished:
    defaults: dict[str, Any] = {
        "endpoint": "chat/completions",
        "status": 200,
        "route": ROUTE,
        "model": "gpt-4o",
        "input_tokens": 10,
        "output_tokens": 5,
        "cost_usd": COST,
    }
    return Finished(id=id_ or str(uuid7()), tenant=str(tenant), **{**defaults, **fields})
