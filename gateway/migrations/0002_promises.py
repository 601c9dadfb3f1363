"""What the database itself holds: a snapshot that hears of every change, keys that stay home."""

from django.db import migrations

CONFIG = r"""
CREATE CONSTRAINT TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE ON gateway_provider
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION config_changed('tenant_id');
CREATE CONSTRAINT TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE ON gateway_modelroute
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION config_changed('tenant_id');
"""

CONFIG_BACK = r"""
DROP TRIGGER config_changed ON gateway_modelroute;
DROP TRIGGER config_changed ON gateway_provider;
"""

KEY_STAYS_HOME = r"""
-- Whoever may change an address but not read the key could otherwise have the key sent to an address of theirs.
CREATE FUNCTION key_stays_home() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.api_key_sealed = OLD.api_key_sealed THEN
        NEW.api_key_sealed := '';
        NEW.api_key_last4 := '';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER key_stays_home BEFORE UPDATE ON gateway_provider
    FOR EACH ROW WHEN (OLD.base_url IS DISTINCT FROM NEW.base_url) EXECUTE FUNCTION key_stays_home();
"""

KEY_STAYS_HOME_BACK = r"""
DROP TRIGGER key_stays_home ON gateway_provider;
DROP FUNCTION key_stays_home();
"""


class Migration(migrations.Migration):
    dependencies = [("gateway", "0001_initial"), ("accounts", "0002_promises")]

    operations = [
        migrations.RunSQL(CONFIG, CONFIG_BACK),
        migrations.RunSQL(KEY_STAYS_HOME, KEY_STAYS_HOME_BACK),
    ]
