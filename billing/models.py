"""What was spent: one row per tenant, day, provider and model, kept in step with the request log."""

from typing import Any, ClassVar

from django.db import models

from accounts.models import Tenant, TenantQuerySet
from nexus.row_security import APPEND, READ, Privileges


class TenantDailySpend(models.Model):
    """The daily rollup that dashboards, budget alerts and spend limits read.

    Written only in the transaction that writes the request log's rows, so that the two always agree. `day` is UTC.
    It outlives the log. A request without a known price counts in `unpriced_requests` and adds nothing to `cost_usd`.
    """

    database_privileges: ClassVar = Privileges(app=APPEND | {"UPDATE"}, tenant=READ)

    pk = models.CompositePrimaryKey("tenant", "day", "provider", "model")
    tenant = models.ForeignKey(Tenant, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False)
    day = models.DateField()
    provider = models.CharField(max_length=32)  # the family
    model = models.CharField(max_length=200)  # the public name asked for
    requests = models.BigIntegerField(default=0)
    unpriced_requests = models.BigIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=24, decimal_places=9, default=0)

    objects: ClassVar[Any] = TenantQuerySet.as_manager()

    class Meta:
        db_table = "tenant_daily_spend"

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.day} {self.provider} {self.model}"
