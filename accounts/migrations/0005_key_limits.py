"""Limits per key beside the monthly quota, and a snapshot that hears of every change of them."""

import django.core.validators
from django.db import migrations, models

CONFIG = """
CREATE CONSTRAINT TRIGGER key_limits_changed AFTER UPDATE OF rpm, tpm, max_concurrent ON accounts_apikey
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION config_changed('tenant_id');
"""
CONFIG_BACK = "DROP TRIGGER key_limits_changed ON accounts_apikey"


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_owners_rights"),
    ]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="max_concurrent",
            field=models.PositiveIntegerField(
                blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="rpm",
            field=models.PositiveIntegerField(
                blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="tpm",
            field=models.PositiveIntegerField(
                blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]
            ),
        ),
        migrations.AlterField(
            model_name="apikey",
            name="monthly_request_quota",
            field=models.PositiveIntegerField(
                blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]
            ),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(("rpm__gte", 1), ("tpm__gte", 1), ("max_concurrent__gte", 1)),
                name="key_limits_positive",
            ),
        ),
        migrations.RunSQL(CONFIG, CONFIG_BACK),
    ]
