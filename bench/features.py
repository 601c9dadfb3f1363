"""Everything that costs time on a request is switched on before it is measured. What this version of NEXUS does not
have is found by asking it, and said in the report."""

from typing import Any

from bench.management import Management, Refused
from bench.result import Feature

# Limits that no measurement reaches: they are kept count of, and refuse nothing.
_LIMITS: dict[str, int] = {"monthly_request_quota": 2_000_000_000, "rpm": 100_000_000, "tpm": 2_000_000_000}
_POLICIES: list[dict[str, Any]] = [
    {
        "name": "no personal data",
        "type": "pii",
        "action": "block",
        "priority": 1,
        "scope": "tenant",
        "config": {"entities": ["credit_card", "ssn", "email", "phone"]},
    },
    {
        "name": "known models",
        "type": "model_restriction",
        "action": "block",
        "priority": 2,
        "scope": "tenant",
        "config": {"allow": ["gpt-4o*", "gpt-4.1*"]},
    },
]
_ALWAYS_ON = ("API key and scope", "circuit breaker in Valkey", "spool and shipper", "routing decision on record")
NOT_BUILT = "not built yet"


def switch_on(management: Management) -> tuple[str, list[Feature]]:
    """Make the key that the load uses and every policy; return the key and what is on."""
    found = [Feature(name, "on") for name in _ALWAYS_ON]
    key, limits = _limited_key(management)
    found += limits
    found += _policies(management)
    found.append(Feature("/metrics", "on" if management.exists("/metrics") else NOT_BUILT))
    return key, found


def unmeasured(management: Management) -> list[Feature]:
    """Return what the benchmark is to measure beside and does not: because it is not built, or has no measure yet."""
    areas = {"/v1/prompts": "prompts rendered per second", "/v1/policies": "policies evaluated per second"}
    return [
        Feature(name, "built, but not measured yet" if management.exists(path) else NOT_BUILT)
        for path, name in areas.items()
    ]


def _limited_key(management: Management) -> tuple[str, list[Feature]]:
    """Make a key with every limit that this version knows: one it does not know, it refuses by name."""
    known = dict(_LIMITS)
    while True:
        try:
            made = management.create("/v1/keys", {"name": "load", "scopes": ["completions:write"], **known})
        except Refused as refusal:
            if refusal.status != 400 or refusal.param not in known:
                raise
            del known[refusal.param]
            continue
        return made["api_key"], [Feature(name, "on the key" if name in known else NOT_BUILT) for name in _LIMITS]


def _policies(management: Management) -> list[Feature]:
    if not management.exists("/v1/policies"):
        return [Feature("policies", NOT_BUILT)]
    for policy in _POLICIES:
        management.create("/v1/policies", policy)
    return [Feature(f"policy {policy['type']}", "on") for policy in _POLICIES]
