"""What the database itself holds: an admin per tenant, an append-only audit log, revisions in commit order."""

from django.db import migrations

REVISIONS = r"""
INSERT INTO accounts_configrevision (id, revision) VALUES (1, 0);

CREATE FUNCTION config_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    next_revision bigint;
    tenant uuid;
BEGIN
    -- Deferred to the commit: the lock on the one row is held for a moment only, and the numbers become visible in
    -- their order, so that whoever polls never misses one.
    EXECUTE format('SELECT ($1).%I', TG_ARGV[0]) INTO tenant
        USING CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    UPDATE accounts_configrevision SET revision = revision + 1 WHERE id = 1 RETURNING revision INTO next_revision;
    INSERT INTO accounts_configchange (revision, tenant_id) VALUES (next_revision, tenant);
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE ON accounts_tenant
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION config_changed('id');
CREATE CONSTRAINT TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE ON accounts_membership
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION config_changed('tenant_id');
-- Not for last_used_at, which the shipper writes all the time and which no snapshot holds.
CREATE CONSTRAINT TRIGGER config_changed AFTER INSERT OR DELETE
    OR UPDATE OF tenant_id, key_hash, scopes, monthly_request_quota, created_by_id, expires_at, revoked_at
    ON accounts_apikey
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION config_changed('tenant_id');

-- A person switched off or on changes what the keys they made may do, in each of their tenants.
CREATE FUNCTION user_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE accounts_membership SET role = role WHERE user_id = NEW.id;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER user_changed AFTER UPDATE OF is_active ON accounts_user
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.is_active IS DISTINCT FROM NEW.is_active) EXECUTE FUNCTION user_changed();
"""

REVISIONS_BACK = r"""
DROP TRIGGER user_changed ON accounts_user;
DROP FUNCTION user_changed();
DROP TRIGGER config_changed ON accounts_apikey;
DROP TRIGGER config_changed ON accounts_membership;
DROP TRIGGER config_changed ON accounts_tenant;
DROP FUNCTION config_changed();
DELETE FROM accounts_configrevision;
"""

LAST_ADMIN = r"""
CREATE FUNCTION keep_an_admin() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.role = 'admin' AND NEW.tenant_id = OLD.tenant_id THEN
        RETURN NULL;
    END IF;
    -- The lock makes two demotions of the last two admins take turns; a tenant that is gone needs no admin.
    PERFORM 1 FROM accounts_tenant WHERE id = OLD.tenant_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF NOT EXISTS (SELECT 1 FROM accounts_membership WHERE tenant_id = OLD.tenant_id AND role = 'admin') THEN
        RAISE EXCEPTION 'the last admin of a tenant cannot be demoted or removed'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'last_admin',
                  HINT = 'make somebody else an admin first';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER keep_an_admin AFTER UPDATE OR DELETE ON accounts_membership
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.role = 'admin') EXECUTE FUNCTION keep_an_admin();
"""

LAST_ADMIN_BACK = r"""
DROP TRIGGER keep_an_admin ON accounts_membership;
DROP FUNCTION keep_an_admin();
"""

AUDIT = r"""
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'append_only';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON accounts_auditevent
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON accounts_auditevent
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- ALWAYS: session_replication_role does not switch them off.
ALTER TABLE accounts_auditevent ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE accounts_auditevent ENABLE ALWAYS TRIGGER append_only_truncate;
"""

AUDIT_BACK = r"""
DROP TRIGGER append_only_truncate ON accounts_auditevent;
DROP TRIGGER append_only ON accounts_auditevent;
DROP FUNCTION refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]

    operations = [
        migrations.RunSQL(REVISIONS, REVISIONS_BACK),
        migrations.RunSQL(LAST_ADMIN, LAST_ADMIN_BACK),
        migrations.RunSQL(AUDIT, AUDIT_BACK),
    ]
