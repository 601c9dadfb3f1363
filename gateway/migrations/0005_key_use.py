"""What each key used in a month, what processes have leased of its quota, and how they lease more."""

import django.db.models.deletion
from django.db import migrations, models

LEASE_QUOTA = r"""
-- gateway/counter.py on one key's month: declare a claim, and lease more. It takes its turn with all others that ask
-- about the same key, in a transaction of its own.
CREATE FUNCTION lease_quota(
    the_key uuid, the_month date, the_process text, the_seq bigint, has_taken bigint, has_spare bigint,
    the_limit bigint, head bigint, queued bigint, want bigint, lease_seconds double precision,
    OUT granted bigint, OUT room bigint, OUT elsewhere bigint
) LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz;
    last_seq bigint;
    claims bigint;
    total bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(the_key::text || the_month::text, 0));
    moment := clock_timestamp();
    -- What has run out, or belongs to a process that has ended, counts as far as it was used.
    SELECT max(seq) FILTER (WHERE process = the_process),
           count(*) FILTER (WHERE process <> the_process AND leased_until > moment),
           coalesce(sum(spare) FILTER (WHERE process <> the_process AND leased_until > moment), 0),
           coalesce(sum(CASE WHEN process = the_process THEN greatest(requests, has_taken)
                             WHEN leased_until > moment THEN greatest(requests, leased)
                             ELSE requests END), 0)
               + CASE WHEN bool_or(process = the_process) THEN 0 ELSE has_taken END
    INTO last_seq, claims, elsewhere, total
    FROM key_monthly_use WHERE key_id = the_key AND month = the_month;

    granted := 0;
    room := the_limit - total;
    IF last_seq >= the_seq THEN
        room := 0;
        RETURN;
    END IF;
    IF room >= greatest(1, head) THEN
        granted := least(room, greatest(queued, least(want, room / (2 * (claims + 1)))));
    END IF;
    INSERT INTO key_monthly_use AS mine (key_id, month, process, tenant_id, seq, leased, spare, leased_until)
    SELECT the_key, the_month, the_process, tenant_id, the_seq, has_taken + granted, has_spare + granted,
           moment + make_interval(secs => lease_seconds)
    FROM accounts_apikey WHERE id = the_key
    ON CONFLICT (key_id, month, process) DO UPDATE SET
        seq = EXCLUDED.seq, leased = EXCLUDED.leased, spare = EXCLUDED.spare, leased_until = EXCLUDED.leased_until;
    IF NOT FOUND THEN
        granted := 0;  -- there is no such key any more
    END IF;
    room := greatest(0, room - granted);
END $$;
"""
LEASE_QUOTA_BACK = "DROP FUNCTION lease_quota"

USED_SO_FAR = """
INSERT INTO key_monthly_use (key_id, month, process, tenant_id, requests)
SELECT key_id, date_trunc('month', created_at AT TIME ZONE 'UTC')::date, '', tenant_id, count(*)
FROM request_log
WHERE created_at >= date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
  AND key_id IS NOT NULL AND jsonb_array_length(attempts) > 0
GROUP BY 1, 2, 4
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_key_limits"),
        ("gateway", "0004_make_partition"),
    ]

    operations = [
        migrations.CreateModel(
            name="KeyUse",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "key_id", "month", "process", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("key_id", models.UUIDField()),
                ("month", models.DateField()),
                ("process", models.CharField(blank=True, default="", max_length=200)),
                ("requests", models.BigIntegerField(db_default=0)),
                ("seq", models.BigIntegerField(db_default=0)),
                ("leased", models.BigIntegerField(db_default=0)),
                ("spare", models.BigIntegerField(db_default=0)),
                ("leased_until", models.DateTimeField(null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="accounts.tenant",
                    ),
                ),
            ],
            options={
                "db_table": "key_monthly_use",
                "indexes": [
                    models.Index(
                        condition=models.Q(("process", ""), _negated=True),
                        fields=["process"],
                        name="key_use_by_process",
                    )
                ],
            },
        ),
        migrations.RunSQL(USED_SO_FAR, migrations.RunSQL.noop),
        migrations.RunSQL(LEASE_QUOTA, LEASE_QUOTA_BACK),
    ]
