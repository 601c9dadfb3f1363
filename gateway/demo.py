"""The demo: a tenant to look at and call within seconds of the first start, with nothing real in it.

Its providers are simulators on this machine, marked as simulated wherever they are shown. What the demo's user needs,
the password and an API key, lies in `<NEXUS_DATA_DIR>/demo.json`, readable by the owner only.
"""

import json
import random
import secrets
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction

from accounts.audit import Actor
from accounts.keys import hash_key
from accounts.models import ApiKey, Membership, Role, Tenant, User
from accounts.rbac import ROLE_SCOPES
from accounts.services import add_member, create_tenant, issue_key
from billing.models import TenantDailySpend
from gateway.demo_history import Connection, Day, circuit_events, history
from gateway.models import Provider
from gateway.plane import shipper_of
from gateway.services import create_provider, update_provider
from gateway.spool import Spool
from nexus.private_files import write_private

SLUG, EMAIL = "demo", "demo@nexus.local"
MODELS = ("gpt-4o", "gpt-4o-mini", "text-embedding-3-small")
BACKUP_MODELS = {"gpt-4o": "backup-large", "gpt-4o-mini": "backup-small", "text-embedding-3-small": "backup-embedding"}
_SIMULATOR_KEY = "sk-simulated-0000"  # simulators take any key; this one shows what a stored key looks like
_ACTOR = Actor.system("manage.py seed_demo")


def seed_demo(*, primary_url: str, backup_url: str) -> dict[str, Any]:
    """Make the demo, or bring it up to date; return what its user has to know. Idempotent."""
    path = settings.NEXUS_DATA_DIR / "demo.json"
    known = _read(path)
    with transaction.atomic():
        tenant = Tenant.objects.filter(slug=SLUG).first() or create_tenant(
            slug=SLUG, name="Demo", actor=_ACTOR, is_demo=True
        )
        user, password = _ensure_user(tenant, known.get("password"))
        key, plaintext = _ensure_key(tenant, user, known.get("api_key", ""))
        primary = _ensure_provider(
            tenant, name="Simulated OpenAI", family="openai", weight=200, url=primary_url, models={m: m for m in MODELS}
        )
        backup = _ensure_provider(
            tenant,
            name="Simulated backup",
            family="openai_compatible",
            weight=100,
            url=backup_url,
            models=BACKUP_MODELS,
        )
    result = {"tenant": SLUG, "user": EMAIL, "email": EMAIL, "password": password, "api_key": plaintext}
    if result != known:
        write_private(path, json.dumps(result, indent=2) + "\n")
    if not TenantDailySpend.objects.for_tenant(tenant).exists():
        _make_history(tenant, key, primary, backup)
    return result


def _read(path: Path) -> Mapping[str, Any]:
    """Return what an earlier run wrote down; a file that is gone or broken is made anew."""
    try:
        known = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _ensure_user(tenant: Tenant, password: str | None) -> tuple[User, str]:
    """Return the demo's user with a password that works."""
    membership = Membership.objects.for_tenant(tenant).filter(user__email=EMAIL).select_related("user").first()
    user: User = (membership or add_member(tenant, email=EMAIL, role=Role.ADMIN, actor=_ACTOR)).user
    if password is None or not user.check_password(password):
        password = secrets.token_urlsafe(12)
        user.set_password(password)
        user.save(update_fields=["password"])
    return user, password


def _ensure_key(tenant: Tenant, user: User, plaintext: str) -> tuple[ApiKey, str]:
    """Return a live key: the one written down, else a new one."""
    live = ApiKey.objects.for_tenant(tenant).filter(revoked_at=None, expires_at=None, created_by=user)
    key = live.filter(key_hash=hash_key(plaintext)).first() if plaintext else None
    if key is not None:
        return key, plaintext
    scopes = ROLE_SCOPES[Role.ADMIN]
    return issue_key(tenant, actor=_ACTOR, holder=user, held=scopes, name="Demo key", scopes=sorted(scopes))


def _ensure_provider(
    tenant: Tenant, *, name: str, family: str, weight: int, url: str, models: Mapping[str, str]
) -> Provider:
    """Return the provider at the address its simulator has this time; the rest is left as the demo's user made it."""
    base_url = url if urlsplit(url).path.strip("/") else f"{url.rstrip('/')}/v1"
    provider = Provider.objects.for_tenant(tenant).filter(name=name).first()
    if provider is None:
        return create_provider(
            tenant, actor=_ACTOR, family=family, name=name, weight=weight, base_url=base_url,
            api_key=_SIMULATOR_KEY, models=models, simulated=True,
        )  # fmt: skip
    if provider.base_url == base_url:
        return provider
    return update_provider(provider.id, tenant, actor=_ACTOR, base_url=base_url, api_key=_SIMULATOR_KEY).provider


def _make_history(tenant: Tenant, key: ApiKey, primary: Provider, backup: Provider) -> None:
    """Ship a day of records as the runtime's own are shipped, so that the rollup agrees with the rows."""
    now = datetime.now(UTC)
    day = Day(
        tenant=tenant.id,
        key=key.id,
        primary=Connection(primary.id, primary.family, {model: model for model in MODELS}),
        backup=Connection(backup.id, backup.family, BACKUP_MODELS),
        now=now,
    )
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder))
        spool.open()
        for record in history(day, random.Random(2)):  # noqa: S311  (made-up traffic, not a secret)
            spool.end(record)
        for event in circuit_events(day):
            spool.note(event)
        spool.close()
        shipper_of(Path(folder)).ship()
