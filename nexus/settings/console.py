"""The console role: pages, management API, admin. manage.py, Celery and the tests use it too."""

from nexus.settings.base import *  # noqa: F403  (Django's idiom: a role is the base plus what differs)

ROOT_URLCONF = "nexus.urls.console"
ASGI_APPLICATION = "nexus.asgi.application"
MIDDLEWARE = [
    "nexus.http.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "nexus.static_files.StaticFilesMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.middleware.SessionUseMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.sign_in.second_factor.SecondFactorMiddleware",
    "accounts.middleware.TenantMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "console.middleware.ViewerZoneMiddleware",
    "console.middleware.ToastMiddleware",
]
