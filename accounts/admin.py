"""The operators' admin: tenants, people and keys, each change with its audit row. The audit log itself is read-only."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.db.models import Model
from django.forms import ModelForm
from django.http import HttpRequest

from accounts import audit
from accounts.audit import Actor
from accounts.models import ApiKey, AuditEvent, Membership, Tenant, User
from accounts.revisions import announce
from nexus.http import client_ip, request_id


class AuditedAdmin(admin.ModelAdmin[Any]):
    """Writes an audit row for each change, in Django admin's own transaction."""

    def save_model(self, request: HttpRequest, obj: Model, form: ModelForm[Any], change: bool) -> None:
        super().save_model(request, obj, form, change)
        names = [name for name in form.changed_data if "password" not in name]
        self._log(request, obj, "updated" if change else "created", {name: ["…", "…"] for name in names})

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        self._log(request, obj, "deleted", {})
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for obj in queryset:
            self.delete_model(request, obj)

    def _log(self, request: HttpRequest, obj: Model, verb: str, changes: dict[str, Any]) -> None:
        assert isinstance(request.user, User)
        actor = Actor.of_user(request.user, ip=client_ip(request), request_id=request_id(request))
        tenant = obj if isinstance(obj, Tenant) else getattr(obj, "tenant", None)
        audit.log(actor=actor, action=f"{obj._meta.model_name}.{verb}", target=obj, tenant=tenant, changes=changes)
        announce()


@admin.register(Tenant)
class TenantAdmin(AuditedAdmin):
    list_display = ("slug", "name", "routing_strategy", "is_demo", "created_at")
    search_fields = ("slug", "name")
    exclude = ("gitops_secret_sealed",)


@admin.register(User)
class PersonAdmin(AuditedAdmin, UserAdmin):
    list_display = ("email", "name", "is_active", "is_staff", "last_login")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "name")
    ordering = ("email",)
    fieldsets = (
        (None, {"fields": ("email", "name", "password")}),
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
    )
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("email", "usable_password", "password1", "password2")}),)


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
    exclude = ("key_hash",)
    readonly_fields = ("tenant", "prefix", "scopes", "created_by", "last_used_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False  # a key is revoked, so that the log keeps its name


@admin.register(AuditEvent)
class AuditEventAdmin(admin.ModelAdmin[Any]):
    list_display = ("created_at", "tenant", "actor_label", "action", "target_label", "ip")
    list_select_related = ("tenant",)
    list_filter = ("action",)
    search_fields = ("actor_label", "target_id", "target_label")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
