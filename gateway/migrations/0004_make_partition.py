"""Partitions are made by whoever needs one, with the right to make nothing else."""

from datetime import UTC, datetime
from typing import Any

from django.db import migrations

from nexus import partitions
from nexus.row_security import owners_rights


def first_partitions(apps: Any, schema_editor: Any) -> None:
    partitions.ensure("request_log", datetime.now(UTC).date())


MAKE_PARTITION = r"""
-- Makes the partition of one day (UTC), aside, and attaches it; false if it is there. Runs with its owner's rights.
CREATE FUNCTION make_partition(parent text, day date) RETURNS boolean LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
DECLARE
    today CONSTANT date := (now() AT TIME ZONE 'UTC')::date;
    partition CONSTANT text := format('%s_p%s', parent, to_char(day, 'YYYYMMDD'));
    place text;
BEGIN
    IF day IS NULL OR day NOT BETWEEN today - 3660 AND today + 32 THEN
        RAISE EXCEPTION 'no partition is made for %: it lies ten years back or a month ahead', day
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT n.nspname INTO place
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_partitioned_table p ON p.partrelid = c.oid
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0]
    WHERE c.oid = to_regclass(quote_ident(parent)) AND NOT c.relispartition
      AND c.relowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)
      AND p.partstrat = 'r' AND p.partnatts = 1 AND a.atttypid = 'timestamptz'::regtype;
    IF place IS NULL THEN
        RAISE EXCEPTION '% is no table of ours that is partitioned by time', parent
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('partitions:' || parent));
    IF to_regclass(format('%I.%I', place, partition)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I.%I (LIKE %I.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)',
                   place, partition, place, parent);
    EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
                   place, parent, place, partition, day || ' 00:00:00+00', day + 1 || ' 00:00:00+00');
    RETURN true;
END $$;
""" + owners_rights("make_partition(text, date)")


class Migration(migrations.Migration):
    dependencies = [("gateway", "0003_decisions"), ("accounts", "0004_owners_rights")]

    operations = [
        migrations.RunSQL(MAKE_PARTITION, "DROP FUNCTION make_partition(text, date)"),
        migrations.RunPython(first_partitions, migrations.RunPython.noop),
    ]
