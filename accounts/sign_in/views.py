"""What the sign-in page offers, and accepting an invitation."""

from datetime import UTC, datetime

from allauth.account.internal.flows.login import perform_login, record_authentication
from allauth.account.models import Login
from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.password_validation import validate_password
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts import invitations
from accounts.invitations import InvitationGone
from accounts.models import Invitation, User
from nexus.http import client_ip, request_id

# What the sign-in page offers; the template calls them.
WAYS_IN = {
    "by_password": lambda: settings.NEXUS_PASSWORD_SIGN_IN,
    "sso": lambda: settings.NEXUS_OIDC_NAME if settings.NEXUS_OIDC_ISSUER else "",
}


class NewPersonForm(forms.Form):
    """Who comes for the first time says their name and chooses a password."""

    name = forms.CharField(max_length=100, widget=forms.TextInput(attrs={"autocomplete": "name", "autofocus": True}))
    password = forms.CharField(
        strip=False,
        max_length=4096,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="At least 10 characters. A sentence is easier to keep than a word with signs in it.",
    )

    def __init__(self, invitation: Invitation, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]  # the data, if there is any
        self.invitation = invitation

    def clean(self) -> None:
        super().clean()
        given = self.cleaned_data
        if given.get("password"):
            person = User(email=self.invitation.email, name=given.get("name", ""))
            try:
                validate_password(given["password"], person)
            except forms.ValidationError as error:
                self.add_error("password", error)


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Show an invitation, and accept it: as who is signed in, or as somebody new."""
    now = datetime.now(UTC)
    try:
        found = invitations.by_token(token, now=now)
    except InvitationGone as error:
        return render(request, "account/invitation_gone.html", {"message": error.message}, status=404)
    if isinstance(request.user, User):
        return _accept_as_myself(request, token, found)
    if not settings.NEXUS_PASSWORD_SIGN_IN or invitations.has_account(found.email):
        return _page(request, found, "sign_in")
    form = NewPersonForm(found, request.POST) if request.method == "POST" else NewPersonForm(found)
    if request.method != "POST" or not form.is_valid():
        return _page(request, found, "new", form, status=422 if form.is_bound else 200)
    given = form.cleaned_data
    user = invitations.make_person(token, name=given["name"], password=given["password"], now=now)
    membership = invitations.accept(token, user, ip=client_ip(request), request_id=request_id(request), now=now)
    record_authentication(request, user, method="password", email=user.email)
    messages.success(request, f"Welcome to {membership.tenant.name}.")
    response: HttpResponse = perform_login(request, Login(user=user, redirect_url=f"/t/{membership.tenant.slug}/"))
    return response


def _accept_as_myself(request: HttpRequest, token: str, found: Invitation) -> HttpResponse:
    assert isinstance(request.user, User)
    if request.user.email != found.email:
        return _page(request, found, "other")
    if request.method != "POST":
        return _page(request, found, "join")
    now = datetime.now(UTC)
    membership = invitations.accept(token, request.user, ip=client_ip(request), request_id=request_id(request), now=now)
    messages.success(request, f"You are {membership.role} of {membership.tenant.name} now.")
    return redirect("overview", membership.tenant.slug)


def _page(
    request: HttpRequest, found: Invitation, kind: str, form: NewPersonForm | None = None, status: int = 200
) -> HttpResponse:
    """Render what the person can do: "new", "sign_in", "join", or as "other" only sign out."""
    context = {"invitation": found, "kind": kind, "form": form, "sso": settings.NEXUS_OIDC_ISSUER}
    return render(request, "account/invitation.html", context, status=status)
