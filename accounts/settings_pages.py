"""The tenant's settings, as PATCH /v1/settings knows them."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from accounts import services
from accounts.member_pages import actor_of
from accounts.models import RoutingStrategy
from accounts.pages import TenantRequest, tenant_page


class SettingsForm(forms.Form):
    routing_strategy = forms.ChoiceField(
        label="Which provider is asked first", choices=RoutingStrategy.choices, help_text="Weights are on Providers."
    )
    max_attempts = forms.IntegerField(
        label="Calls per request, at most", min_value=1, max_value=20, help_text="Retries and failover together."
    )
    deadline_s = forms.IntegerField(
        label="Seconds until the first content", min_value=1, max_value=600, help_text="Then the client gets a 504."
    )
    default_embedding = forms.CharField(
        label="Embedding model of semantic evals",
        max_length=200,
        required=False,
        help_text="As clients name it. Empty: the built-in one, which asks no provider.",
    )
    log_content = forms.BooleanField(required=False)


class SecretForm(forms.Form):
    gitops_secret = forms.CharField(
        label="New webhook secret",
        min_length=16,
        max_length=200,
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="At least 16 characters; the same as at the webhook of the repository. It is never shown again.",
    )


@tenant_page({"GET": "members:read", "POST": "members:write"})
def tenant_settings(request: TenantRequest) -> HttpResponse:
    """Show and change how the tenant's requests are served."""
    if request.method != "POST":
        return _page(request)
    form = SettingsForm(request.POST)
    if not form.is_valid():
        return _page(request, form=form, status=422)
    services.update_settings(request.tenant, actor=actor_of(request), **form.cleaned_data)
    messages.success(request, "The settings are saved. Every runtime process has them within a second.")
    return redirect("settings", request.tenant.slug)


@tenant_page({"POST": "members:write"})
def gitops_secret(request: TenantRequest) -> HttpResponse:
    """Set the secret of GitOps webhooks anew, or take it away."""
    if "remove" in request.POST:
        services.update_settings(request.tenant, actor=actor_of(request), gitops_secret="")
        messages.success(request, "The webhook secret is removed: no push is taken any more.")
        return redirect("settings", request.tenant.slug)
    form = SecretForm(request.POST)
    if not form.is_valid():
        return _page(request, secret_form=form, status=422)
    services.update_settings(request.tenant, actor=actor_of(request), **form.cleaned_data)
    messages.success(request, "The webhook secret is set.")
    return redirect("settings", request.tenant.slug)


def _page(
    request: TenantRequest,
    *,
    form: SettingsForm | None = None,
    secret_form: SecretForm | None = None,
    status: int = 200,
) -> HttpResponse:
    tenant = request.tenant
    context: dict[str, Any] = {
        "slug": tenant.slug,
        "form": form or SettingsForm(initial={name: getattr(tenant, name) for name in SettingsForm.base_fields}),
        "secret_form": secret_form or SecretForm(),
        "secret_set": bool(tenant.gitops_secret_sealed),
        "content_allowed": settings.NEXUS_LOG_CONTENT,
        "retention_days": settings.NEXUS_LOG_RETENTION_DAYS,
        "sso": settings.NEXUS_OIDC_NAME if settings.NEXUS_OIDC_ISSUER else "",
        "by_password": settings.NEXUS_PASSWORD_SIGN_IN,
    }
    return render(request, "accounts/settings.html", context, status=status)
