"""Where allauth asks us: who signs in, what is written down of it, which words people get, how secrets are kept."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.internal import ratelimit
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from accounts.sign_in import mail, session_records, trail
from nexus.encryption import Cipher
from nexus.http import client_ip

SEALED_AS = "second factor"
# What a mail says happened to how somebody signs in.
NOTICES = {
    "account/email/password_changed": "your password was changed",
    "account/email/password_reset": "your password was set anew, by a link sent to this address",
    "account/email/password_set": "a password was set",
    "mfa/email/totp_activated": "an authenticator app was added",
    "mfa/email/totp_deactivated": "the authenticator app was removed",
    "mfa/email/webauthn_added": "a passkey or security key was added",
    "mfa/email/webauthn_removed": "a passkey or security key was removed",
    "mfa/email/recovery_codes_generated": "new recovery codes were made, and the old ones ended",
    "socialaccount/email/account_connected": "your account was connected with single sign-on",
}


class AccountAdapter(DefaultAccountAdapter):
    """Accounts are made by admins and invitations, never by whoever comes along."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "That e-mail address and password do not belong together.",
        "too_many_login_attempts": "Too many attempts. Wait five minutes, then try again.",
        "incorrect_password": "That is not your password.",
        "incorrect_code": "That code is not right. Codes change every 30 seconds; a recovery code works once.",
        "invalid_password_reset": "This link is not good any more.",
        "password_sign_in_off": "Passwords are switched off here. Use single sign-on.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_ip(request) or "unknown"

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        """Count by the account alone: allauth counts by the name of the host too, of which there may be many."""
        return str(credentials.get("email", "")).strip().lower()

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        super().pre_authenticate(request, **credentials)
        if not settings.NEXUS_PASSWORD_SIGN_IN:
            raise self.validation_error("password_sign_in_off")

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        trail.note_refusal(str(credentials.get("email", "")), request=request, reason="password")

    def reauthenticate(self, user: User, password: str) -> bool:
        """Return whether the password is the signed-in person's, counted as attempts to sign in are."""
        used = ratelimit.consume(self.request, app="allauth.account", action="login_failed", key=f"again:{user.pk}")
        if not used:
            raise self.validation_error("too_many_login_attempts")
        right = user.check_password(password)
        if right:
            used.rollback()
        else:
            trail.note_refusal(user.email, request=self.request, reason="password, asked again")
        return right

    def login(self, request: HttpRequest, user: User) -> None:
        super().login(request, user)
        with transaction.atomic():
            record = session_records.begin(request, user)
            trail.note(user, "user.signed_in", request=request, changes={"method": [None, record.method]})

    def logout(self, request: HttpRequest) -> None:
        user, record = request.user, session_records.current(request)
        super().logout(request)
        if isinstance(user, User):
            if record is not None:
                session_records.forget(record)
            trail.note(user, "user.signed_out", request=request)

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("mfa_index")

    def send_notification_mail(
        self, template_prefix: str, user: User, context: dict[str, Any] | None = None, email: str | None = None
    ) -> None:
        """Tell somebody that the way they sign in was changed, once it is, in case it was not them.

        Never stops the change.
        """
        what = NOTICES.get(template_prefix, "the way you sign in was changed")
        told = {"what": what, "when": timezone.now(), "ip": self.get_client_ip(self.request)}

        def send() -> None:
            try:
                mail.send(user.email, "account_changed", told)
            except mail.NotSent:
                return  # logged where it happened

        transaction.on_commit(send)


class SecondFactorAdapter(DefaultMFAAdapter):
    """Keeps the seeds of codes sealed, and names us and our people to authenticators."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": AccountAdapter.error_messages["incorrect_code"],
    }

    def encrypt(self, text: str) -> str:
        return Cipher(settings.NEXUS_ENCRYPTION_KEYS).seal(text, context=SEALED_AS)

    def decrypt(self, encrypted_text: str) -> str:
        return Cipher(settings.NEXUS_ENCRYPTION_KEYS).open(encrypted_text, context=SEALED_AS)

    def _get_site_name(self) -> str:
        return settings.MFA_TOTP_ISSUER

    def get_public_key_credential_user_entity(self, user: User) -> dict[str, Any]:
        entity: dict[str, Any] = super().get_public_key_credential_user_entity(user)
        return entity | {"display_name": user.name or user.email}

    def generate_authenticator_name(self, user: User, type: Authenticator.Type) -> str:  # noqa: A002  (allauth's)
        number = Authenticator.objects.filter(user=user, type=type).count() + 1
        return "Passkey" if number == 1 else f"Passkey {number}"
