"""allauth's forms where ours differ."""

from typing import Any

from allauth.account import forms
from allauth.account.internal.flows.login import perform_password_login
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from accounts.sign_in import reset


class LoginForm(forms.LoginForm):
    """E-mail address and password. Nothing to remember: how long a session lasts is the operator's choice."""

    def __init__(self, data: Any = None, *args: Any, **kwargs: Any) -> None:
        if data is not None and "login" not in data and "username" in data:
            # Scripts that sign in name the field as Django does.
            data = data.copy()
            data["login"] = data["username"]
        super().__init__(data, *args, **kwargs)
        self.fields["login"].label = "E-mail address"
        self.fields["password"].help_text = ""  # the page has the link to a new one beside the label
        self.fields["login"].widget.attrs |= {"autocomplete": "username", "autofocus": True}

    def _login_with_password(
        self, request: HttpRequest, redirect_url: str | None, credentials: dict[str, Any]
    ) -> HttpResponse:
        self._login.redirect_url = redirect_url
        response: HttpResponse = perform_password_login(request, credentials, self._login)
        return response


class ReauthenticateForm(forms.ReauthenticateForm):
    """The password, once more."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"].help_text = ""


class ResetPasswordForm(forms.ResetPasswordForm):
    """Asks for a link by mail. Who gets one is decided where the answer does not wait for it."""

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).lower()

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        email = str(self.cleaned_data["email"])
        if settings.NEXUS_PASSWORD_SIGN_IN:
            reset.ask(email)
        return email
