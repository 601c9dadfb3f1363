"""A person's own pages: who they are, how they sign in, and where they are signed in."""

from uuid import UUID

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import Membership, User
from accounts.sign_in import browsers, second_factor, session_records, trail


class ProfileForm(forms.ModelForm[User]):
    class Meta:
        model = User
        fields = ("name",)
        widgets = {"name": forms.TextInput(attrs={"autocomplete": "name"})}
        help_texts = {"name": "How others see you in lists and in the audit log."}


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    """Show and change who somebody is. The address is the admins' to change: it is what they invited."""
    user = _person(request)
    before = user.name
    form = ProfileForm(request.POST or None, instance=user)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            form.save()
            if user.name != before:
                trail.note(user, "user.renamed", request=request, changes={"name": [before, user.name]})
        messages.success(request, "Your profile is saved.")
        return redirect("profile")
    memberships = Membership.objects.filter(user=user).select_related("tenant").order_by("created_at", "id")
    context = {"form": form, "memberships": memberships, "tab": "profile"}
    return render(request, "account/profile.html", context, status=422 if form.errors else 200)


@never_cache
@login_required
@require_safe
def security(request: HttpRequest) -> HttpResponse:
    """Show by what somebody signs in, with links to change each."""
    user = _person(request)
    kinds: dict[str, list[Authenticator]] = {}
    for each in Authenticator.objects.filter(user=user).order_by("created_at", "id"):
        kinds.setdefault(each.type, []).append(each)
    codes = kinds.get(Authenticator.Type.RECOVERY_CODES, [])
    context = {
        "tab": "security",
        "required": second_factor.lacks(request),
        "asked_of": settings.NEXUS_MFA_REQUIRED,
        "totp": next(iter(kinds.get(Authenticator.Type.TOTP, [])), None),
        "passkeys": [(each, each.wrap()) for each in kinds.get(Authenticator.Type.WEBAUTHN, [])],
        "codes_left": len(codes[0].wrap().get_unused_codes()) if codes else None,
        "by_password": settings.NEXUS_PASSWORD_SIGN_IN,
        "sso": settings.NEXUS_OIDC_NAME if settings.NEXUS_OIDC_ISSUER else "",
        "connected": SocialAccount.objects.filter(user=user).exists(),
    }
    return render(request, "account/security.html", context)


@never_cache
@login_required
@require_safe
def sessions(request: HttpRequest) -> HttpResponse:
    """Show where somebody is signed in."""
    here = session_records.current(request)
    rows = [(each, browsers.name_of(each.agent), each.id == here) for each in session_records.of(_person(request))]
    context = {"tab": "sessions", "rows": rows, "others": sum(not current for _, _, current in rows)}
    return render(request, "account/sessions.html", context)


@login_required
@require_POST
def end_session(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """End one of one's own sessions. Its browser is signed out at its next request."""
    user = _person(request)
    with transaction.atomic():
        if not session_records.end(session_records.of(user).filter(id=session_id)):
            raise Http404
        trail.note(user, "user.session_ended", request=request, changes={"session": [str(session_id), None]})
    messages.success(request, "That session is ended.")
    return redirect("sessions")


@login_required
@require_POST
def end_other_sessions(request: HttpRequest) -> HttpResponse:
    """End all of one's sessions but the one that asks."""
    user = _person(request)
    here = session_records.current(request)
    everywhere = session_records.of(user)
    with transaction.atomic():
        ended = session_records.end(everywhere.exclude(id=here) if here else everywhere)
        if ended:
            trail.note(user, "user.sessions_ended", request=request, changes={"count": [ended, 0]})
    messages.success(request, f"{ended} other session{'' if ended == 1 else 's'} ended.")
    return redirect("sessions")


def _person(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
