"""`GET /v1/models`: what a caller may ask for, as OpenAI lists models. From the snapshot, without I/O."""

from typing import Any

from gateway.failures import ModelNotFound
from gateway.snapshot import Caller

_CREATED = 1_700_000_000  # OpenAI's clients want a Unix time; a public model name has none of its own


def list_models(caller: Caller) -> dict[str, Any]:
    """Return the models of the caller's tenant, by name."""
    routes = caller.tenant.routes
    return {"object": "list", "data": [_model(name, caller) for name in sorted(routes)]}


def show_model(caller: Caller, name: str) -> dict[str, Any]:
    """Return one model, whose name may hold slashes. Raises ModelNotFound."""
    if name not in caller.tenant.routes:
        raise ModelNotFound(f"No enabled provider of your tenant serves the model `{name[:200]}`.", param="model")
    return _model(name, caller)


def _model(name: str, caller: Caller) -> dict[str, Any]:
    families = sorted({route.family for route in caller.tenant.routes[name].candidates})
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": ",".join(families)}
