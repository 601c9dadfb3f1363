"""A new password by mail.

The request only hands the address on, so that its time does not tell whether anybody has it.
"""

import logging

from allauth.account.app_settings import PASSWORD_RESET_TOKEN_GENERATOR
from allauth.account.utils import user_pk_to_url_str
from django.conf import settings
from django.urls import reverse
from kombu.exceptions import OperationalError

from accounts.models import User
from accounts.sign_in import mail

logger = logging.getLogger(__name__)


def ask(email: str) -> None:
    """Have the mail sent by a worker; without a broker send it now, which takes longer for who gets one."""
    from accounts.tasks import send_password_reset  # noqa: PLC0415  (tasks import this module)

    try:
        send_password_reset.apply_async(kwargs={"email": email}, retry=False)
    except (OperationalError, OSError) as error:
        logger.warning("password reset without a worker", extra={"reason": type(error).__name__})
        try:
            send(email)
        except mail.NotSent:
            return  # logged; the page says the same to everybody


def send(email: str) -> bool:
    """Send the link to whoever has the address and may sign in; return whether there is such a person.

    Raises mail.NotSent. The link ends after PASSWORD_RESET_TIMEOUT, once it is used, and with any sign-in.
    """
    user = User.objects.filter(email=email.strip().lower(), is_active=True).first()
    if user is None:
        return False
    token = PASSWORD_RESET_TOKEN_GENERATOR().make_token(user)
    names = {"uidb36": user_pk_to_url_str(user), "key": token}
    link = settings.NEXUS_PUBLIC_URL + reverse("account_reset_password_from_key", kwargs=names)
    mail.send(user.email, "password_reset", {"link": link, "minutes": settings.PASSWORD_RESET_TIMEOUT // 60})
    return True
