"""The operators' view of providers and their circuits. Writes go through the services, as everybody's do."""

from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from accounts.audit import Actor
from accounts.models import User
from gateway.egress import Allowance
from gateway.models import CircuitEvent, ModelRoute, Provider
from gateway.provider_rules import (
    MAX_KEY,
    checked_api_key,
    checked_base_url,
    checked_family,
    checked_models,
    checked_options,
)
from gateway.services import create_provider, delete_provider, update_provider
from nexus.errors import InvalidRequest
from nexus.http import client_ip, request_id

_FIELDS = ("name", "base_url", "weight", "enabled", "timeout_s", "models", "options", "simulated")


class ProviderForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    """A provider with its models; the key can be written and never read."""

    base_url = forms.CharField(required=False, help_text="Empty: the family's own. Changing it deletes the key.")
    api_key = forms.CharField(
        required=False,
        max_length=MAX_KEY,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Empty: the stored key stays as it is.",
    )
    models = forms.JSONField(help_text='{"public-name": "upstream-name"}')

    class Meta:
        model = Provider
        fields = ("tenant", "family", "name", "base_url", "weight", "enabled", "timeout_s", "options", "simulated")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["options"].required = False
        if not self.instance._state.adding:
            routes = self.instance.routes.order_by("public_name")
            self.initial["models"] = dict(routes.values_list("public_name", "upstream_name"))

    def clean(self) -> dict[str, Any]:
        """Hold the services' rules here too, where a refusal can stand beside its field."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        family = cleaned.get("family", self.instance.family)
        try:
            checked_family(family)
            cleaned["options"] = checked_options(family, cleaned.get("options") or {})
            allowance = Allowance.parse(settings.NEXUS_ALLOW_PRIVATE_PROVIDERS)
            checked_base_url(family, cleaned.get("base_url", ""), allowance, options=cleaned["options"])
            checked_api_key(cleaned.get("api_key", ""))
            cleaned["models"] = checked_models(cleaned.get("models") or {})
        except InvalidRequest as error:
            self.add_error((error.param or "").partition(".")[0] or None, error.message)
        return cleaned


class RouteInline(admin.TabularInline):  # type: ignore[type-arg]  # generic in the stubs only
    """What the provider serves; changed as a whole by the field `models`."""

    model = ModelRoute
    fields = ("public_name", "upstream_name")
    ordering = ("public_name",)
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Provider)
class ProviderAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic in the stubs only
    form = ProviderForm
    inlines: ClassVar = [RouteInline]
    list_display = ("name", "tenant", "family", "weight", "enabled", "simulated")
    list_filter = ("family", "enabled", "simulated")
    list_select_related = ("tenant",)
    search_fields = ("name", "tenant__slug")
    ordering = ("tenant__slug", "name", "id")
    fields = (
        "tenant", "family", "name", "base_url", "api_key", "api_key_last4", "weight", "enabled", "timeout_s", "models",
        "options", "simulated",
    )  # fmt: skip

    def get_readonly_fields(self, request: HttpRequest, obj: Provider | None = None) -> tuple[str, ...]:
        return ("api_key_last4",) if obj is None else ("tenant", "family", "api_key_last4")

    def save_model(self, request: HttpRequest, obj: Provider, form: Any, change: bool) -> None:
        given: dict[str, Any] = {name: form.cleaned_data[name] for name in _FIELDS}
        if form.cleaned_data["api_key"]:
            given["api_key"] = form.cleaned_data["api_key"]
        if change:
            saved = update_provider(obj.id, obj.tenant, actor=_actor(request), **given)
            for warning in saved.warnings:
                self.message_user(request, warning, "warning")
        else:
            obj.id = create_provider(obj.tenant, actor=_actor(request), family=obj.family, **given).id
        obj.refresh_from_db()

    def delete_model(self, request: HttpRequest, obj: Provider) -> None:
        delete_provider(obj.id, obj.tenant, actor=_actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Provider]) -> None:
        for provider in queryset.select_related("tenant"):
            delete_provider(provider.id, provider.tenant, actor=_actor(request))


@admin.register(CircuitEvent)
class CircuitEventAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic in the stubs only
    """What the circuits did. Nobody edits history."""

    list_display = ("created_at", "tenant", "provider_id", "from_state", "to_state", "reason")
    list_filter = ("to_state",)
    list_select_related = ("tenant",)
    ordering = ("-created_at", "-id")
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def _actor(request: HttpRequest) -> Actor:
    assert isinstance(request.user, User)
    return Actor.of_user(request.user, ip=client_ip(request), request_id=request_id(request))
