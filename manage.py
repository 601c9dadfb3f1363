#!/usr/bin/env python
"""Django's command line for NEXUS: `manage.py up` runs everything, `manage.py help` lists the rest."""

import os
import secrets
import sys
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent


def prepare_environment(command: str, arguments: list[str]) -> None:
    """Choose the settings of the process role, and make the secrets of an embedded installation on its first start."""
    role = "runtime" if command == "serve" and "runtime" in arguments else "console"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", f"nexus.settings.{role}")
    if command == "simulate":
        # A simulator keeps no secret and opens no database; it must start on an empty machine.
        os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(48))
        os.environ.setdefault("NEXUS_ENCRYPTION_KEYS", "")
        return
    if os.environ.get("DATABASE_URL"):
        return
    from nexus.embedded import ensure_secrets

    ensure_secrets(Path(os.environ.get("NEXUS_DATA_DIR", BASE_DIR / ".nexus")))


def main() -> None:
    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    prepare_environment(command, sys.argv[2:])
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        raise SystemExit(f"nexus: {error}") from None


if __name__ == "__main__":
    main()
