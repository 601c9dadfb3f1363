"""The operators' admin: tenants, people and keys, each change with its audit row. The audit log itself is read-only."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.db import transaction
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse

from accounts import audit, services
from accounts.audit import Actor
from accounts.models import ApiKey, AuditEvent, Membership, Tenant, User
from accounts.revisions import announce
from accounts.sign_in import session_records
from nexus.http import client_ip, request_id

# The library's own pages would show seeds and claims, and change them without a row in the log.
for _model in (EmailAddress, Authenticator, SocialAccount, SocialApp, SocialToken):
    admin.site.unregister(_model)

_NOUNS = {"apikey": "key", "membership": "member"}  # as the services name them in the audit log


class AuditedAdmin(admin.ModelAdmin[Any]):
    """Writes an audit row for each change, in Django admin's own transaction."""

    def save_model(self, request: HttpRequest, obj: Model, form: ModelForm[Any], change: bool) -> None:
        super().save_model(request, obj, form, change)
        _log(request, obj, "updated" if change else "created", _changes(form))
        services.check_admins()

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        _log(request, obj, "deleted")
        super().delete_model(request, obj)
        services.check_admins()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        with transaction.atomic():  # all or none, and no row in the log of what was refused
            for obj in queryset:
                self.delete_model(request, obj)


def _log(request: HttpRequest, obj: Model, verb: str, changes: dict[str, list[Any]] | None = None) -> None:
    noun = obj._meta.model_name or ""
    tenant = obj if isinstance(obj, Tenant) else getattr(obj, "tenant", None)
    action = f"{_NOUNS.get(noun, noun)}.{verb}"
    audit.log(actor=_actor(request), action=action, target=obj, tenant=tenant, changes=changes)
    announce()


def _actor(request: HttpRequest) -> Actor:
    assert isinstance(request.user, User)
    return Actor.of_user(request.user, ip=client_ip(request), request_id=request_id(request))


def _changes(form: ModelForm[Any]) -> dict[str, list[Any]]:
    """Return what a form changed, passwords left out."""
    names = [name for name in form.changed_data if "password" not in name]
    return {name: [_plain(form.initial.get(name)), _plain(form.cleaned_data.get(name))] for name in names}


def _plain(value: Any) -> Any:
    """Return a form's value as JSON can hold it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Model):
        return str(value.pk)
    return [_plain(each) for each in value] if isinstance(value, Iterable) else str(value)


@admin.register(Tenant)
class TenantAdmin(AuditedAdmin):
    list_display = ("slug", "name", "routing_strategy", "is_demo", "created_at")
    search_fields = ("slug", "name")
    exclude = ("gitops_secret_sealed",)


@admin.register(User)
class PersonAdmin(AuditedAdmin, UserAdmin[User]):
    list_display = ("email", "name", "is_active", "is_staff", "last_login")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "name")
    ordering = ("email",)
    fieldsets = (
        (None, {"fields": ("email", "name", "password")}),
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
    )
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("email", "usable_password", "password1", "password2")}),)

    actions = ("remove_second_factors",)

    @admin.action(description="Remove the second factors of the selected users", permissions=["change"])
    def remove_second_factors(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """For who has lost their phone and their recovery codes. Their sessions end with it."""
        for person in queryset:
            with transaction.atomic():
                removed, _ = Authenticator.objects.filter(user=person).delete()
                session_records.end(session_records.of(person))
                if removed:
                    _log(request, person, "second_factors_removed")

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002  (Django's)
        """Set a password: the one change of Django's that does not come through save_model."""
        with transaction.atomic():
            response = super().user_change_password(request, id, form_url)
            if response.status_code == 302:
                _log(request, User.objects.get(pk=id), "password_set")
        return response


@admin.register(Membership)
class MembershipAdmin(AuditedAdmin):
    list_display = ("user", "tenant", "role", "created_at")
    list_select_related = ("user", "tenant")
    list_filter = ("role",)
    search_fields = ("user__email", "tenant__slug")
    autocomplete_fields = ("user", "tenant")


@admin.register(ApiKey)
class ApiKeyAdmin(AuditedAdmin):
    """Keys are made where their plaintext can be shown once, and never here."""

    list_display = ("prefix", "name", "tenant", "expires_at", "last_used_at", "revoked_at")
    list_select_related = ("tenant",)
    search_fields = ("prefix", "name", "tenant__slug")
    exclude = ("key_hash", "previous_hash")
    readonly_fields = (
        *("tenant", "prefix", "scopes", "created_by", "last_used_at", "revoked_at"),
        *("rotated_at", "previous_expires_at"),
    )
    actions = ("revoke",)

    @admin.action(description="Revoke the selected keys", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset.select_related("tenant"):
            services.revoke_key(key.id, key.tenant, actor=_actor(request))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False  # a key is revoked, so that the log keeps its name


@admin.register(AuditEvent)
class AuditEventAdmin(admin.ModelAdmin[AuditEvent]):
    list_display = ("created_at", "tenant", "actor_label", "action", "target_label", "ip")
    list_select_related = ("tenant",)
    list_filter = ("action",)
    search_fields = ("actor_label", "target_id", "target_label")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEvent | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEvent | None = None) -> bool:
        return False
