"""A tenant keeps an admin, also when its last two are demoted at the same moment."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Queue
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client as Browser

from accounts.audit import Actor
from accounts.models import Membership, Tenant, User
from accounts.services import LastAdmin, change_role, remove_member
from tests.factories import make_member

ACTOR = Actor.system("test")


def two_admins(tenant: Tenant) -> tuple[Membership, Membership]:
    for name in ("one", "two"):
        make_member(tenant, f"{name}@{tenant.slug}.example")
    one, two = Membership.objects.for_tenant(tenant).order_by("created_at", "id")
    return one, two


def demote(membership: Membership) -> None:
    change_role(membership.id, membership.tenant, role="viewer", actor=ACTOR)


def remove(membership: Membership) -> None:
    remove_member(membership.id, membership.tenant, actor=ACTOR)


def demote_by_sql(membership: Membership) -> None:
    Membership.objects.filter(id=membership.id).update(role="viewer")


def in_a_thread(act: Callable[[Membership], None], membership: Membership, backend: "Queue[int]") -> None:
    try:
        connection.ensure_connection()
        backend.put(connection.connection.info.backend_pid)
        act(membership)
    finally:
        connection.close()


def wait_until_blocked(backend: int, other: "Future[None]") -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not other.done():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_blocking_pids(%s)", [backend])
            if cursor.fetchone()[0]:
                return
    pytest.fail("The second change did not wait for the first.")


@pytest.mark.parametrize("second", [demote, remove])
def test_two_changes_at_once_leave_an_admin(tenant: Tenant, second: Callable[[Membership], None]) -> None:
    one, two = two_admins(tenant)
    backend: Queue[int] = Queue()
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            demote(one)
            other = pool.submit(in_a_thread, second, two, backend)
            wait_until_blocked(backend.get(timeout=10), other)
        with pytest.raises(LastAdmin):
            other.result(timeout=10)
    roles = dict(Membership.objects.for_tenant(tenant).values_list("id", "role"))
    assert roles == {one.id: "viewer", two.id: "admin"}


def test_two_statements_at_once_leave_an_admin_too(tenant: Tenant) -> None:
    one, two = two_admins(tenant)
    backend: Queue[int] = Queue()
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            demote_by_sql(one)
            with connection.cursor() as cursor:
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            other = pool.submit(in_a_thread, demote_by_sql, two, backend)
            wait_until_blocked(backend.get(timeout=10), other)
        with pytest.raises(IntegrityError, match="last admin"):
            other.result(timeout=10)
    assert Membership.objects.for_tenant(tenant).filter(role="admin").count() == 1


def test_the_first_of_two_admins_may_go(tenant: Tenant) -> None:
    one, two = two_admins(tenant)
    remove(one)
    assert list(Membership.objects.for_tenant(tenant)) == [two]


def test_a_tenant_goes_with_its_admins(tenant: Tenant) -> None:
    two_admins(tenant)
    tenant.delete()
    assert not Membership.objects.filter(tenant=tenant.id).exists()


def test_a_person_who_is_the_last_admin_cannot_be_deleted(tenant: Tenant) -> None:
    user = make_member(tenant, f"one@{tenant.slug}.example")
    with pytest.raises(IntegrityError, match="last admin"):
        user.delete()
    assert Membership.objects.for_tenant(tenant).count() == 1


def test_the_refused_change_leaves_no_trace(tenant: Tenant, django_assert_num_queries: Any) -> None:
    user = make_member(tenant, f"one@{tenant.slug}.example")
    membership = Membership.objects.get(user=user)
    with transaction.atomic():
        with pytest.raises(LastAdmin):
            demote(membership)
        Tenant.objects.filter(id=tenant.id).update(name="the caller's transaction goes on")
    membership.refresh_from_db()
    assert membership.role == "admin"
    assert Tenant.objects.get(id=tenant.id).name == "the caller's transaction goes on"


def demotion_page(membership: Membership) -> tuple[str, dict[str, Any]]:
    form = {"user": membership.user_id, "tenant": membership.tenant_id, "role": "viewer"}
    return f"/admin/accounts/membership/{membership.id}/change/", form


def removal_page(membership: Membership) -> tuple[str, dict[str, Any]]:
    return f"/admin/accounts/membership/{membership.id}/delete/", {"post": "yes"}


def removal_of_many(membership: Membership) -> tuple[str, dict[str, Any]]:
    form = {"action": "delete_selected", "_selected_action": [membership.id], "post": "yes"}
    return "/admin/accounts/membership/", form


def deletion_page(membership: Membership) -> tuple[str, dict[str, Any]]:
    return f"/admin/accounts/user/{membership.user_id}/delete/", {"post": "yes"}


@pytest.mark.parametrize("page", [demotion_page, removal_page, removal_of_many, deletion_page])
def test_an_operator_and_a_change_of_the_tenant_do_not_wait_for_each_other(
    tenant: Tenant, page: Callable[[Membership], tuple[str, dict[str, Any]]]
) -> None:
    """Both lock the tenant's row first, and the revision after it."""
    one, _ = two_admins(tenant)
    path, form = page(one)
    operator = Browser()
    operator.force_login(User.objects.create_superuser(f"root@{tenant.slug}.example", "a long enough sentence"))
    backend: Queue[int] = Queue()
    statuses: Queue[int] = Queue()
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            Tenant.objects.filter(id=tenant.id).update(name="changed")
            other = pool.submit(
                in_a_thread, lambda _: statuses.put(operator.post(path, form).status_code), one, backend
            )
            wait_until_blocked(backend.get(timeout=10), other)
        other.result(timeout=20)
    assert statuses.get(timeout=1) == 302
    assert Tenant.objects.get(id=tenant.id).name == "changed"
    assert not Membership.objects.filter(id=one.id, role="admin").exists()
