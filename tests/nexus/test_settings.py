"""Settings: all documented, and a bad one stops the start with one sentence that names it."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCTION = {
    "DATABASE_URL": "postgres://nexus:secret@db.example.com/nexus",
    "REDIS_URL": "redis://redis.example.com/0",
    "SECRET_KEY": "production-like-" + "k3Y" * 20,
    "NEXUS_ENCRYPTION_KEYS": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=",
    "NEXUS_PUBLIC_URL": "https://nexus.example.com",
    "ALLOWED_HOSTS": "nexus.example.com",
    "CSRF_TRUSTED_ORIGINS": "https://nexus.example.com",
    "NEXUS_TRUSTED_PROXIES": "10.0.0.0/8",
    "EMAIL_URL": "smtp+tls://user:password@mail.example.com:587",
}
READ = re.compile(r'(?:env\.\w+|required|number|switch|choice)\(\s*"([A-Z_]+)"')
ELSEWHERE = {"NEXUS_PG_BINDIR", "NEXUS_VALKEY_BIN", "NEXUS_CONSOLE_SOCKET"}  # read before Django's settings are


def check(tmp_path: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    ours: Mapping[str, str] = {"PATH": os.environ["PATH"], "NEXUS_DATA_DIR": str(tmp_path), **environment}
    return subprocess.run(
        [sys.executable, "manage.py", *(arguments or ("check",))],
        cwd=ROOT,
        env=ours,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_code_the_example_and_the_documentation_know_the_same_settings() -> None:
    read = set(READ.findall((ROOT / "nexus/settings/base.py").read_text())) | ELSEWHERE
    example = set(re.findall(r"^#([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    table = (ROOT / "docs/configuration.md").read_text().split("## Settings")[1].split("## Production")[0]
    documented = {name for row in table.splitlines() if row.startswith("| `") for name in names_of(row)}
    assert read == example == documented


def names_of(row: str) -> list[str]:
    return re.findall(r"`([A-Z_]+)`", row.split("|")[1])


def test_settings_without_documentation_are_read_nowhere_else() -> None:
    """What base.py does not read must be in the list above, or it would be a setting that nobody can find."""
    found: set[str] = set()
    for app in ("nexus", "gateway", "accounts", "billing", "console"):
        for path in (ROOT / app).rglob("*.py"):
            found |= set(re.findall(r'environ(?:\.get\(|\[)"(NEXUS_[A-Z_]+)"', path.read_text()))
    assert found <= ELSEWHERE


def test_the_documented_production_environment_is_clean(tmp_path: Path) -> None:
    found = check(tmp_path, "check", "--deploy", "--fail-level", "WARNING", **PRODUCTION)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == "System check identified no issues (0 silenced)."


@pytest.mark.parametrize("role", ["console", "runtime"])
def test_every_role_starts_by_its_own_settings(tmp_path: Path, role: str) -> None:
    """As a role does that runs alone, on a machine of its own."""
    found = check(tmp_path, "serve", role, "--help", **PRODUCTION)
    assert (found.returncode, found.stderr) == (0, "")
    assert "--workers" in found.stdout


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SECRET_KEY", "", "SECRET_KEY is not set"),
        ("NEXUS_ENCRYPTION_KEYS", "short", "NEXUS_ENCRYPTION_KEYS is malformed"),
        ("DATABASE_URL", "mysql://x/y", "DATABASE_URL must be a postgres:// URL"),
        ("NEXUS_PORT", "eight", "NEXUS_PORT must be a whole number of at least 1, not 'eight'."),
        ("DEBUG", "perhaps", "DEBUG must be true or false, not 'perhaps'."),
        ("NEXUS_PUBLIC_URL", "nexus.example.com", "NEXUS_PUBLIC_URL must begin with http:// or https://."),
        ("NEXUS_TRUSTED_PROXIES", "proxy.internal", "NEXUS_TRUSTED_PROXIES must list addresses or networks"),
        ("NEXUS_ALLOW_PRIVATE_PROVIDERS", "10.0.0.0/99", "NEXUS_ALLOW_PRIVATE_PROVIDERS"),
        ("REDIS_URL", "http://redis", "REDIS_URL"),
        ("NEXUS_METRICS_TOKEN", "short", "NEXUS_METRICS_TOKEN must have at least 16 characters, or be empty."),
        ("NEXUS_METRICS_BY_TENANT", "some", "NEXUS_METRICS_BY_TENANT must be true or false, not 'some'."),
        ("NEXUS_SESSION_HOURS", "0", "NEXUS_SESSION_HOURS must be a whole number of at least 1, not '0'."),
        (
            "NEXUS_PASSWORD_SIGN_IN",
            "false",
            "NEXUS_PASSWORD_SIGN_IN=false leaves no way in: set NEXUS_OIDC_ISSUER too.",
        ),
        ("NEXUS_MFA_REQUIRED", "some", "NEXUS_MFA_REQUIRED must be one of nobody, operators, everybody, not 'some'."),
        ("NEXUS_OIDC_ISSUER", "http://login.example.com", "NEXUS_OIDC_ISSUER must be an https:// URL"),
        ("NEXUS_OIDC_ISSUER", "https://login.example.com", "NEXUS_OIDC_CLIENT_ID is not set"),
        ("NEXUS_LOG_FORMAT", "xml", "NEXUS_LOG_FORMAT must be one of text, json, not 'xml'."),
        ("NEXUS_LOG_LEVEL", "LOUD", "NEXUS_LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
    ],
)
def test_a_bad_setting_is_named_in_one_sentence(tmp_path: Path, name: str, value: str, sentence: str) -> None:
    found = check(tmp_path, **{**PRODUCTION, name: value})
    assert found.returncode != 0
    assert sentence in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
