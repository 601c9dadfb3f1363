"""A backup of the audit log that is restored elsewhere is as whole as the log was."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

from django.db import connection
from environ import Env
from psycopg import sql

from accounts.models import AuditEvent, Tenant
from nexus.binaries import postgres_directory
from tests.accounts.test_audit_chain import write
from tests.database import connect, database_urls
from tests.stack import ROOT


def postgres(name: str, database: str, *arguments: str) -> None:
    url = Env.db_url_config(database_urls(database)["NEXUS_OWNER_DATABASE_URL"])
    given = {
        "PGHOST": url["HOST"],
        "PGPORT": str(url["PORT"] or ""),
        "PGUSER": url["USER"],
        "PGPASSWORD": url["PASSWORD"],
    }
    environment = {**os.environ, **given, "PGDATABASE": database}
    program = str(postgres_directory(Path("/nonexistent"), None) / name)
    done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_backup_that_was_restored_is_whole(tenant: Tenant, tmp_path: Path) -> None:
    for number in range(3):
        write(tenant, number)
    copy = f"copy_{secrets.token_hex(4)}"
    postgres("pg_dump", str(connection.settings_dict["NAME"]), "--format=custom", f"--file={tmp_path / 'dump'}")
    with connect("owner") as owner, connect("administrator") as administrator:
        owner.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(copy)))
        try:
            postgres("pg_restore", copy, f"--dbname={copy}", "--exit-on-error", str(tmp_path / "dump"))
            told = subprocess.run(
                [sys.executable, "manage.py", "verify_audit", "--tenant", tenant.slug],
                cwd=ROOT,
                env={**os.environ, **database_urls(copy), "DJANGO_SETTINGS_MODULE": "nexus.settings.console"},
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            administrator.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(copy)))
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith(f"{tenant.slug}: {AuditEvent.objects.filter(tenant=tenant).count()} rows, whole")
