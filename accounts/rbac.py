"""Who may do what: one table of roles and scopes. Pure."""

from collections.abc import Iterable, Mapping

SCOPES = (
    "completions:write",
    "embeddings:write",
    "prompts:read",
    "prompts:write",
    "prompts:deploy",
    "evals:read",
    "evals:write",
    "policies:read",
    "policies:write",
    "providers:read",
    "providers:write",
    "keys:read",
    "keys:write",
    "gitops:read",
    "gitops:write",
    "billing:read",
    "billing:write",
    "analytics:read",
    "members:read",
    "members:write",
    "audit:read",
)

ROLE_SCOPES: Mapping[str, frozenset[str]] = {
    "admin": frozenset(SCOPES),
    "developer": frozenset(
        (
            "completions:write",
            "embeddings:write",
            "prompts:read",
            "prompts:write",
            "prompts:deploy",
            "evals:read",
            "evals:write",
            "gitops:read",
            "gitops:write",
            "providers:read",
            "keys:read",
            "policies:read",
            "billing:read",
            "analytics:read",
        )
    ),
    "viewer": frozenset(
        ("prompts:read", "evals:read", "policies:read", "gitops:read", "billing:read", "analytics:read")
    ),
}


def effective_scopes(key_scopes: Iterable[str], role: str | None) -> frozenset[str]:
    """Return what a key may do now: its scopes, as far as its creator's present role has them. No role: nothing."""
    return frozenset(key_scopes) & ROLE_SCOPES.get(role or "", frozenset())
