"""What the request log adds up to, and what the rollup says: the two must agree to the last billionth."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from django.db.models import Count, Q, Sum
from django.db.models.functions import Coalesce, TruncDate

from billing.models import TenantDailySpend
from gateway.models import RequestLog

Totals = dict[tuple[Any, str, str], tuple[Any, ...]]  # requests, unpriced ones, tokens in and out, USD


def log_totals(tenant_ids: Iterable[Any]) -> Totals:
    """Return what the request log adds up to by day, provider and model: all that the rollup holds."""
    groups = (
        RequestLog.objects.filter(tenant_id__in=list(tenant_ids))
        .annotate(day=TruncDate("created_at"))
        .order_by()
        .values_list("day", "provider", "model")
        .annotate(
            n=Count("id"),
            unpriced_n=Count("id", filter=Q(unpriced=True)),
            tokens_in=Coalesce(Sum("input_tokens"), 0),
            tokens_out=Coalesce(Sum("output_tokens"), 0),
            spent=Coalesce(Sum("cost_usd"), Decimal(0)),
        )
    )
    return {(day, provider or "", model or ""): tuple(totals) for day, provider, model, *totals in groups}


def rollup_totals(tenant_ids: Iterable[Any]) -> Totals:
    rows = TenantDailySpend.objects.filter(tenant_id__in=list(tenant_ids)).values_list(
        "day", "provider", "model", "requests", "unpriced_requests", "input_tokens", "output_tokens", "cost_usd"
    )
    return {(day, provider, model): tuple(totals) for day, provider, model, *totals in rows}
