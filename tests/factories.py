"""Rows for tests, each by one plain function whose arguments override what does not matter."""

from datetime import UTC, datetime
from typing import Any

from accounts.keys import display_prefix, generate, hash_key
from accounts.models import ApiKey, Membership, Role, Tenant, User
from accounts.rbac import ROLE_SCOPES


def make_tenant(slug: str = "acme", **fields: Any) -> Tenant:
    return Tenant.objects.create(slug=slug, **{"name": slug.title(), **fields})


def make_member(tenant: Tenant, email: str, role: str = Role.ADMIN) -> User:
    user, _ = User.objects.get_or_create(email=email)
    Membership.objects.create(tenant=tenant, user=user, role=role)
    return user


def make_key(tenant: Tenant, user: User | None, **fields: Any) -> str:
    """Make a key that holds everything its maker's role allows; return its plaintext."""
    role = Membership.objects.filter(tenant=tenant, user=user).values_list("role", flat=True).first()
    plaintext = generate()
    ApiKey.objects.create(
        tenant=tenant,
        prefix=display_prefix(plaintext),
        key_hash=hash_key(plaintext),
        created_by=user,
        **{
            "name": "test",
            "scopes": sorted(ROLE_SCOPES.get(role or "", ())),
            "last_used_at": datetime.now(UTC),  # noted this minute already, so that reading writes nothing
            **fields,
        },
    )
    return plaintext
