"""Every audit row gets a place in its tenant's chain: a row that is changed, taken, added or moved breaks it.

The database does it, at the commit, whoever writes the row. What was written before is chained as it is found.
"""

import django.db.models.deletion
from django.db import migrations, models

from nexus.row_security import owners_rights

FUNCTIONS = r"""
-- A list of texts with their lengths, so that no two lists have the same digest; accounts/audit_chain.py has the twin.
CREATE FUNCTION audit_digest(
    event accounts_auditevent, previous text, place bigint, chained_at timestamptz
) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT encode(sha256(convert_to(string_agg(coalesce(octet_length(part) || ':' || part, '-'), ',' ORDER BY n),
                                    'UTF8')), 'hex')
    FROM unnest(ARRAY[
        'nexus audit 1', previous, place::text,
        to_char(chained_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
        event.id::text, event.tenant_id::text,
        to_char(event.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
        event.actor_kind, event.actor_id::text, event.actor_label, event.action, event.target_kind, event.target_id,
        event.target_label, event.changes::text, event.ip::text, event.request_id::text
    ]) WITH ORDINALITY AS parts(part, n)
$$;

CREATE FUNCTION append_to_audit_chain(event accounts_auditevent, chained_at timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    chain CONSTANT uuid := coalesce(event.tenant_id, '00000000-0000-0000-0000-000000000000');
    head accounts_audithead;
    digest text;
BEGIN
    INSERT INTO accounts_audithead (id, length, hash) VALUES (chain, 0, repeat('0', 64)) ON CONFLICT (id) DO NOTHING;
    SELECT * INTO STRICT head FROM accounts_audithead WHERE id = chain FOR UPDATE;
    digest := audit_digest(event, head.hash, head.length + 1, chained_at);
    INSERT INTO accounts_auditlink (event_id, tenant_id, place, chained_at, previous_hash, hash)
    VALUES (event.id, event.tenant_id, head.length + 1, chained_at, head.hash, digest);
    UPDATE accounts_audithead SET length = head.length + 1, hash = digest WHERE id = chain;
END $$;

CREATE FUNCTION chain_audit_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Deferred to the commit, as the revisions are: the locks are held for a moment. Always the revision's first, which
    -- nearly every transaction with an audit row takes anyway, so that no two wait for each other.
    PERFORM 1 FROM accounts_configrevision WHERE id = 1 FOR UPDATE;
    PERFORM append_to_audit_chain(NEW, clock_timestamp());
    RETURN NULL;
END $$;
"""

TRIGGERS = (
    """
CREATE CONSTRAINT TRIGGER chained AFTER INSERT ON accounts_auditevent
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chain_audit_event();
-- Not ALWAYS, as what refuses changes is: a copy of the database kept by replication is given the links as they were
-- made. A row written under that pretext has no link, which is found.

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON accounts_auditlink
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON accounts_auditlink
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE accounts_auditlink ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE accounts_auditlink ENABLE ALWAYS TRIGGER append_only_truncate;
"""
    + owners_rights("chain_audit_event()")
    + """
REVOKE ALL ON FUNCTION append_to_audit_chain(accounts_auditevent, timestamptz) FROM PUBLIC;
"""
)

BACKFILL = """
-- After the trigger, whose making waits for all writers and keeps them out: what none of the two sees, nobody chains.
-- Not by append_to_audit_chain: to change a head once for each row, in one transaction, takes the square of their number.
DO $$
DECLARE
    event accounts_auditevent;
    head accounts_audithead;
    chain uuid;
    previous text;
BEGIN
    FOR event IN SELECT * FROM accounts_auditevent ORDER BY tenant_id, created_at, id LOOP
        chain := coalesce(event.tenant_id, '00000000-0000-0000-0000-000000000000');
        IF head.id IS DISTINCT FROM chain THEN
            IF head.id IS NOT NULL THEN
                INSERT INTO accounts_audithead SELECT head.*;
            END IF;
            SELECT chain, 0, repeat('0', 64) INTO head;
        END IF;
        previous := head.hash;
        head.length := head.length + 1;
        head.hash := audit_digest(event, previous, head.length, event.created_at);
        INSERT INTO accounts_auditlink (event_id, tenant_id, place, chained_at, previous_hash, hash)
        VALUES (event.id, event.tenant_id, head.length, event.created_at, previous, head.hash);
    END LOOP;
    IF head.id IS NOT NULL THEN
        INSERT INTO accounts_audithead SELECT head.*;
    END IF;
END $$;
"""

CHAIN_BACK = """
DROP TRIGGER chained ON accounts_auditevent;
DROP FUNCTION chain_audit_event();
DROP FUNCTION append_to_audit_chain(accounts_auditevent, timestamptz);
DROP FUNCTION audit_digest(accounts_auditevent, text, bigint, timestamptz);
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0005_key_limits")]

    operations = [
        migrations.CreateModel(
            "AuditHead",
            [
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("length", models.BigIntegerField()),
                ("hash", models.CharField(max_length=64)),
            ],
        ),
        migrations.CreateModel(
            "AuditLink",
            [
                ("event_id", models.UUIDField(primary_key=True, serialize=False)),
                ("place", models.BigIntegerField()),
                ("chained_at", models.DateTimeField()),
                ("previous_hash", models.CharField(max_length=64)),
                ("hash", models.CharField(max_length=64)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="accounts.tenant",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=["tenant", "place"], nulls_distinct=False, name="one_row_per_place")
                ]
            },
        ),
        migrations.RunSQL(FUNCTIONS + TRIGGERS + BACKFILL, CHAIN_BACK),
    ]
