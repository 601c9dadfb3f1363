"""A key's second secret: the one before its last rotation, good for a while longer."""

from django.db import migrations, models

# A rotation changes key_hash, which raises the revision already; this is for a grace that is changed alone.
REVISIONS = """
CREATE CONSTRAINT TRIGGER grace_changed AFTER UPDATE OF previous_hash, previous_expires_at ON accounts_apikey
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.key_hash = NEW.key_hash
          AND (OLD.previous_hash, OLD.previous_expires_at) IS DISTINCT FROM (NEW.previous_hash, NEW.previous_expires_at))
    EXECUTE FUNCTION config_changed('tenant_id');
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_promises")]

    operations = [
        migrations.AddField("apikey", "rotated_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField(
            "apikey", "previous_hash", models.CharField(blank=True, max_length=64, null=True, unique=True)
        ),
        migrations.AddField("apikey", "previous_expires_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddConstraint(
            "apikey",
            models.CheckConstraint(
                condition=models.Q(previous_hash=None) | models.Q(previous_expires_at__isnull=False),
                name="grace_has_an_end",
            ),
        ),
        migrations.RunSQL(REVISIONS, "DROP TRIGGER grace_changed ON accounts_apikey"),
    ]
