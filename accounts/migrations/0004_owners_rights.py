"""Triggers that work whoever's statement fires them, and the one question a request may ask of all tenants."""

from django.db import migrations

from nexus.row_security import owners_rights

# A request's role sees one tenant, and not the revisions at all; what follows from its writes is the owner's business.
# The weaker lock lets two things happen at once that do not concern each other: rows of a tenant being added, which
# takes a share of the tenant's row, and admins being demoted, which only has to wait for its like.
FUNCTIONS = r"""
CREATE OR REPLACE FUNCTION keep_an_admin() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.role = 'admin' AND NEW.tenant_id = OLD.tenant_id THEN
        RETURN NULL;
    END IF;
    -- The lock makes two demotions of the last two admins take turns; a tenant that is gone needs no admin.
    PERFORM 1 FROM accounts_tenant WHERE id = OLD.tenant_id FOR NO KEY UPDATE;
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

-- Whose key is this? Answers whoever holds the key, and nobody who does not: the digest cannot be guessed.
CREATE FUNCTION tenant_of_key(digest text) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT tenant_id FROM accounts_apikey
    WHERE key_hash = digest OR (previous_hash = digest AND previous_expires_at > now())
$$;
""" + owners_rights("config_changed()", "user_changed()", "keep_an_admin()", "tenant_of_key(text)")

FUNCTIONS_BACK = r"""
DROP FUNCTION tenant_of_key(text);
ALTER FUNCTION config_changed() SECURITY INVOKER RESET search_path;
ALTER FUNCTION user_changed() SECURITY INVOKER RESET search_path;
ALTER FUNCTION keep_an_admin() SECURITY INVOKER RESET search_path;
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_key_rotation")]

    operations = [migrations.RunSQL(FUNCTIONS, FUNCTIONS_BACK)]
