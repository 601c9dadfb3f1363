"""Every setting that comes from the environment, grouped; the role modules beside this one add what differs per
process.

Secrets have no default. A missing or malformed setting raises ImproperlyConfigured with one sentence that names it.
Every variable is described in `.env.example` and `docs/configuration.md`; a test holds the three together.
"""

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import django_stubs_ext
import environ
import fontpkg_geist
import fontpkg_geist_mono
from django.core.exceptions import ImproperlyConfigured
from django.utils.csp import CSP

from accounts.sign_in import oidc
from gateway.egress import Allowance
from nexus import embedded
from nexus.encryption import Cipher
from nexus.redis_clients import celery_url

django_stubs_ext.monkeypatch()
BASE_DIR = Path(__file__).resolve().parents[2]
env = environ.Env()
env.read_env(BASE_DIR / ".env") if (BASE_DIR / ".env").exists() else None

# --- where things are kept --------------------------------------------------------------------------------------------
NEXUS_DATA_DIR = Path(env.str("NEXUS_DATA_DIR", default=str(BASE_DIR / ".nexus"))).absolute()
if (NEXUS_DATA_DIR / "secrets.env").exists():  # made by the first start of an embedded installation
    env.read_env(NEXUS_DATA_DIR / "secrets.env")


def required(name: str, purpose: str) -> str:
    """Return a setting without default, or stop the start with one sentence that names it."""
    value = env.str(name, default="")
    if not value:
        raise ImproperlyConfigured(f"{name} is not set: {purpose}")
    return str(value)


def number(name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
    """Return a whole number setting, refusing anything else by name."""
    raw = env.str(name, default=str(default))
    if not raw.isdigit() or int(raw) < least:
        raise ImproperlyConfigured(f"{name} must be a whole number of at least {least}, not {raw!r}.")
    if most is not None and int(raw) > most:
        raise ImproperlyConfigured(f"{name} must be {most} at most, not {raw!r}.")
    return int(raw)


def switch(name: str, *, default: bool) -> bool:
    """Return an on/off setting, refusing a word that is neither."""
    raw = env.str(name, default=str(default)).strip().lower()
    if raw in ("1", "true", "yes", "on"):
        return True
    if raw in ("0", "false", "no", "off", ""):
        return False
    raise ImproperlyConfigured(f"{name} must be true or false, not {raw!r}.")


def choice(name: str, default: str, options: tuple[str, ...]) -> str:
    """Return one of a few words, in whatever case it is written, refusing any other by name."""
    raw = env.str(name, default=default)
    found = next((option for option in options if option.lower() == raw.strip().lower()), None)
    if found is None:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(options)}, not {raw!r}.")
    return found


# --- secrets ----------------------------------------------------------------------------------------------------------
DEBUG = switch("DEBUG", default=False)
SECRET_KEY = required("SECRET_KEY", "give 50 or more random characters; they sign sessions and tokens.")
NEXUS_ENCRYPTION_KEYS = [key.strip() for key in env.str("NEXUS_ENCRYPTION_KEYS", default="").split(",") if key.strip()]
try:
    Cipher(NEXUS_ENCRYPTION_KEYS)
except ValueError as error:
    raise ImproperlyConfigured(f"NEXUS_ENCRYPTION_KEYS is malformed: {error}") from error

# --- PostgreSQL and Redis: given by URL, or the embedded ones when those run ------------------------------------------
_services = embedded.running(NEXUS_DATA_DIR)
_ours = _services if not env.str("DATABASE_URL", default="") else None  # roles of ours are none of another database
DATABASE_URL = env.str("DATABASE_URL", default=_ours.database_url if _ours else "")
NEXUS_OWNER_DATABASE_URL = env.str("NEXUS_OWNER_DATABASE_URL", default=_ours.owner_database_url if _ours else "")
NEXUS_TENANT_DATABASE_URL = env.str("NEXUS_TENANT_DATABASE_URL", default=_ours.tenant_database_url if _ours else "")
REDIS_URL = env.str("REDIS_URL", default=_services.redis_url if _services else "")
if REDIS_URL and not REDIS_URL.startswith(("redis://", "rediss://", "unix://")):
    raise ImproperlyConfigured("REDIS_URL must begin with redis://, rediss:// or unix://: NEXUS needs Redis or Valkey.")
_POOL = {"min_size": 0, "max_size": number("NEXUS_DATABASE_POOL", 8, least=1), "timeout": 10}  # connections; seconds


def database(name: str, url: str) -> dict[str, Any]:
    """Return Django's dictionary for a database URL; an empty one for commands that open no database."""
    if not url:
        return {"ENGINE": "django.db.backends.postgresql", "NAME": "nexus", "HOST": str(NEXUS_DATA_DIR / "run")}
    parsed: dict[str, Any] = env.db_url_config(url)
    if parsed.get("ENGINE") != "django.db.backends.postgresql":
        raise ImproperlyConfigured(f"{name} must be a postgres:// URL: NEXUS needs PostgreSQL 15 or newer.")
    return parsed | {"CONN_HEALTH_CHECKS": True}


# One database by up to three roles (nexus/database_roles.py). Without the other two, the first does everything.
DATABASES = {"default": database("DATABASE_URL", DATABASE_URL)}
if NEXUS_OWNER_DATABASE_URL:
    DATABASES["owner"] = database("NEXUS_OWNER_DATABASE_URL", NEXUS_OWNER_DATABASE_URL)
if NEXUS_TENANT_DATABASE_URL:
    DATABASES["tenant"] = database("NEXUS_TENANT_DATABASE_URL", NEXUS_TENANT_DATABASE_URL)
DATABASE_TENANT_ROLE = DATABASES["tenant"].get("USER", "") if NEXUS_TENANT_DATABASE_URL else ""
for _pooled in DATABASES.keys() - {"owner"}:
    DATABASES[_pooled].setdefault("OPTIONS", {})["pool"] = dict(_POOL)

# --- Django itself ----------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "console",
    "accounts",
    "billing",
    "gateway",
]
AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.csp",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "console.context.look",
                "accounts.shell.shell",
            ]
        },
    }
]
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS: list[Any] = [
    BASE_DIR / "static",
    # The fonts lie in their packages; with the version in the path they can be kept for ever.
    ("fonts/geist-1.800", fontpkg_geist.ROOT / "files"),
    ("fonts/geist-mono-1.701", fontpkg_geist_mono.ROOT / "files"),
]
WHITENOISE_USE_FINDERS = True  # a checkout serves its own files; `collectstatic` is not part of the start
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024  # bytes

# --- addresses --------------------------------------------------------------------------------------------------------
NEXUS_PORT = number("NEXUS_PORT", 8000, least=1)
NEXUS_PUBLIC_URL = env.str("NEXUS_PUBLIC_URL", default=f"http://127.0.0.1:{NEXUS_PORT}").rstrip("/")
if not NEXUS_PUBLIC_URL.startswith(("http://", "https://")):
    raise ImproperlyConfigured("NEXUS_PUBLIC_URL must begin with http:// or https://.")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
NEXUS_TRUSTED_PROXIES = env.list("NEXUS_TRUSTED_PROXIES", default=[])
for _address in NEXUS_TRUSTED_PROXIES:
    try:
        ip_network(_address)
    except ValueError as error:
        raise ImproperlyConfigured(f"NEXUS_TRUSTED_PROXIES must list addresses or networks: {error}.") from error
_HTTPS = NEXUS_PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = _HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _HTTPS else None
SECURE_REDIRECT_EXEMPT = ["^healthz$", "^readyz$", "^metrics$"]  # probes speak plain HTTP
SECURE_HSTS_SECONDS = 31_536_000 if _HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _HTTPS
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_ENGINE = "accounts.sessions"
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_CSP: dict[str, list[str]] = {
    "default-src": [CSP.NONE],
    "script-src": [CSP.SELF, CSP.NONCE],
    "style-src": [CSP.SELF, CSP.NONCE],
    "img-src": [CSP.SELF, "data:"],
    "font-src": [CSP.SELF],
    "connect-src": [CSP.SELF],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
    "base-uri": [CSP.NONE],
}
CSRF_FAILURE_VIEW = "nexus.http.csrf_failure"

# --- signing in (docs/sign-in.md) -------------------------------------------------------------------------------------
NEXUS_SESSION_HOURS = number("NEXUS_SESSION_HOURS", 12, least=1, most=720)
NEXUS_SESSION_IDLE_MINUTES = number("NEXUS_SESSION_IDLE_MINUTES", 60, least=5)
NEXUS_PASSWORD_SIGN_IN = switch("NEXUS_PASSWORD_SIGN_IN", default=True)
NEXUS_MFA_REQUIRED = choice("NEXUS_MFA_REQUIRED", "nobody", ("nobody", "operators", "everybody"))
NEXUS_INVITATION_DAYS = number("NEXUS_INVITATION_DAYS", 7, least=1, most=90)
NEXUS_OIDC_ISSUER = env.str("NEXUS_OIDC_ISSUER", default="").rstrip("/")
NEXUS_OIDC_CLIENT_ID = env.str("NEXUS_OIDC_CLIENT_ID", default="")
NEXUS_OIDC_CLIENT_SECRET = env.str("NEXUS_OIDC_CLIENT_SECRET", default="")
NEXUS_OIDC_NAME = env.str("NEXUS_OIDC_NAME", default="single sign-on")
NEXUS_OIDC_SCOPES = env.str("NEXUS_OIDC_SCOPES", default="openid email profile").split()
NEXUS_OIDC_TRUST_EMAIL = switch("NEXUS_OIDC_TRUST_EMAIL", default=False)
NEXUS_OIDC_NEWCOMERS = env.str("NEXUS_OIDC_NEWCOMERS", default="")
_oidc = oidc.Settings(
    issuer=NEXUS_OIDC_ISSUER,
    client_id=NEXUS_OIDC_CLIENT_ID,
    client_secret=NEXUS_OIDC_CLIENT_SECRET,
    name=NEXUS_OIDC_NAME,
    scopes=tuple(NEXUS_OIDC_SCOPES),
    trust_email=NEXUS_OIDC_TRUST_EMAIL,
    newcomers=NEXUS_OIDC_NEWCOMERS,
)
if _wrong := _oidc.fault(password_sign_in=NEXUS_PASSWORD_SIGN_IN):
    raise ImproperlyConfigured(_wrong)
SESSION_COOKIE_AGE = NEXUS_SESSION_HOURS * 3600  # seconds
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
LOGIN_URL = "/accounts/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/accounts/login/"
PASSWORD_RESET_TIMEOUT = 3600  # seconds
# allauth counts attempts in the default cache: ours lies in PostgreSQL, so that all processes count together.
CACHES = {"default": {"BACKEND": "accounts.throttle.ThrottleCache"}}
ACCOUNT_ADAPTER = "accounts.sign_in.adapters.AccountAdapter"
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if _HTTPS else "http"
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_EMAIL_VERIFICATION = "none"  # an address is proven by its invitation, or by the identity provider
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
ACCOUNT_FORMS = {
    "login": "accounts.sign_in.forms.LoginForm",
    "reauthenticate": "accounts.sign_in.forms.ReauthenticateForm",
    "reset_password": "accounts.sign_in.forms.ResetPasswordForm",
}
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_RATE_LIMITS = {"login_failed": "10/m/ip,5/5m/key", "login": "60/m/ip"}
MFA_ADAPTER = "accounts.sign_in.adapters.SecondFactorAdapter"
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_TOTP_ISSUER = "NEXUS"
MFA_TOTP_TOLERANCE = 1  # periods of 30 seconds that a clock may be off
SOCIALACCOUNT_ADAPTER = "accounts.sign_in.single_sign_on.SocialAccountAdapter"
SOCIALACCOUNT_LOGIN_ON_GET = True  # the CSP's form-action would stop a form that leads elsewhere
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_PROVIDERS = _oidc.providers()

# --- e-mail -----------------------------------------------------------------------------------------------------------
EMAIL_URL = env.str("EMAIL_URL", default="")


def mailer(url: str) -> dict[str, Any]:
    """Return Django's dictionary for a mail server's URL; mail without one becomes files that the operator reads."""
    if not url:
        return {"BACKEND": "nexus.mail_files.EmailBackend", "OPTIONS": {"directory": str(NEXUS_DATA_DIR / "mail")}}
    parsed = env.email_url_config(url)
    names = {"username": "EMAIL_HOST_USER", "password": "EMAIL_HOST_PASSWORD"} | {
        name: f"EMAIL_{name.upper()}" for name in ("host", "port", "use_tls", "use_ssl")
    }
    options = {option: parsed[name] for option, name in names.items() if parsed.get(name)}
    if options:
        options["timeout"] = MAIL_TIMEOUT_SECONDS
    return {"BACKEND": parsed["EMAIL_BACKEND"], "OPTIONS": options}


MAIL_TIMEOUT_SECONDS = 10
MAILERS = {"default": mailer(EMAIL_URL)}
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="NEXUS <nexus@localhost>")

# --- gateway ----------------------------------------------------------------------------------------------------------
NEXUS_RUNTIME_WORKERS = number("NEXUS_RUNTIME_WORKERS", 0)  # 0: one per core, two at most
NEXUS_ALLOW_PRIVATE_PROVIDERS = env.str("NEXUS_ALLOW_PRIVATE_PROVIDERS", default="")
try:
    Allowance.parse(NEXUS_ALLOW_PRIVATE_PROVIDERS)
except ValueError as error:
    raise ImproperlyConfigured(str(error)) from error
NEXUS_LOG_CONTENT = switch("NEXUS_LOG_CONTENT", default=False)
NEXUS_MAX_BODY_BYTES = number("NEXUS_MAX_BODY_BYTES", 20 * 1024 * 1024, least=1024)
NEXUS_CLIENT_SECONDS = number("NEXUS_CLIENT_SECONDS", 15, least=1)
NEXUS_CONNECT_TIMEOUT_SECONDS = number("NEXUS_CONNECT_TIMEOUT_SECONDS", 5, least=1)
NEXUS_STREAM_IDLE_SECONDS = number("NEXUS_STREAM_IDLE_SECONDS", 60, least=1)
NEXUS_STREAM_TOTAL_SECONDS = number("NEXUS_STREAM_TOTAL_SECONDS", 1800, least=1)
NEXUS_DRAIN_SECONDS = number("NEXUS_DRAIN_SECONDS", 30)
NEXUS_SNAPSHOT_MAX_AGE_SECONDS = number("NEXUS_SNAPSHOT_MAX_AGE_SECONDS", 86_400, least=1)
NEXUS_IDEMPOTENCY_LEASE_SECONDS = number("NEXUS_IDEMPOTENCY_LEASE_SECONDS", 30, least=1)
NEXUS_IDEMPOTENCY_MAX_BYTES = number("NEXUS_IDEMPOTENCY_MAX_BYTES", 8 * 1024 * 1024, least=1024)
NEXUS_LOG_RETENTION_DAYS = number("NEXUS_LOG_RETENTION_DAYS", 90, least=1, most=3650)

# --- Celery -----------------------------------------------------------------------------------------------------------
CELERY_BROKER_URL = celery_url(REDIS_URL) if REDIS_URL else "memory://"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_TIME_LIMIT = 300  # seconds
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"

# --- REST -------------------------------------------------------------------------------------------------------------
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.auth.ApiKeyAuthentication", "accounts.auth.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.auth.ScopePermission"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "nexus.rest.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "COERCE_DECIMAL_TO_STRING": True,
    "DATETIME_FORMAT": "iso-8601",
    "DEFAULT_SCHEMA_CLASS": "nexus.openapi.ApiSchema",
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "NEXUS Open Console",
    "DESCRIPTION": "An OpenAI-compatible gateway in front of your LLM providers, and the management of it.",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/v1",
    "SERVERS": [{"url": "/", "description": "This installation"}],
    "DISABLE_DOCSTRING_DESCRIPTIONS": True,  # docstrings are for whoever changes the code
    "ENABLE_DJANGO_DEPLOY_CHECK": False,  # a test does, and sees more
    "POSTPROCESSING_HOOKS": ["nexus.openapi.add_errors", "gateway.openapi.add_data_plane"],
}

# --- metrics ----------------------------------------------------------------------------------------------------------
NEXUS_METRICS_TOKEN = env.str("NEXUS_METRICS_TOKEN", default="")
if 0 < len(NEXUS_METRICS_TOKEN) < 16:
    raise ImproperlyConfigured("NEXUS_METRICS_TOKEN must have at least 16 characters, or be empty.")
NEXUS_METRICS_BY_TENANT = switch("NEXUS_METRICS_BY_TENANT", default=False)

# --- the process's own log --------------------------------------------------------------------------------------------
NEXUS_LOG_FORMAT = choice("NEXUS_LOG_FORMAT", "text", ("text", "json"))
NEXUS_LOG_LEVEL = choice("NEXUS_LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
LOGGING_CONFIG = "nexus.logs.configure"
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"text": {"()": "nexus.logs.TextFormatter"}, "json": {"()": "nexus.logs.JsonFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": NEXUS_LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": NEXUS_LOG_LEVEL},
    # Others tell more at INFO than anybody wants to read in the gateway's log.
    "loggers": {name: {"level": "WARNING"} for name in ("django.server", "httpx", "celery", "asyncio")},
}
