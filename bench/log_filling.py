"""A request log of any size, made by the database itself: a month of one tenant's requests, and the rollup of them.

The shipper would take a quarter of an hour for ten million rows. What it keeps in step with the log, the daily rollup,
is made from the log afterwards; a table that it is taught to keep must be filled here too.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from django.db import connection

from accounts.models import Tenant
from nexus import partitions
from nexus.database_roles import as_owner

DAYS = 30
_DAY_MS = 86_400_000
_DAYS_PER_LINE = 10
# Every column has the spread that a real log has: the ids are UUIDv7 of their moment, one request in 30 fails, and
# numbers come from a hash, so that they are the same in every run.
_FILL = """
INSERT INTO request_log
    (id, created_at, tenant_id, key_id, endpoint, streamed, provider, provider_id, model, upstream_model, status,
     error_class, error_code, retryable, attempts, decision, latency_ms, ttft_ms, duration_ms, overhead_ms,
     input_tokens, output_tokens, cached_tokens, reasoning_tokens, usage_estimated, cost_usd, unpriced, price,
     policy_events, simulated)
SELECT (lpad(to_hex(ms), 12, '0') || '7' || substr(hash, 1, 3) || '8' || substr(hash, 4, 15))::uuid,
       timestamptz 'epoch' + ms * interval '1 millisecond', %(tenant)s, md5('key' || dice %% 8)::uuid,
       'chat/completions', dice %% 5 < 3, provider, md5(provider)::uuid, model, model, status,
       CASE status WHEN 200 THEN NULL WHEN 502 THEN 'server_error' WHEN 429 THEN 'rate_limit' ELSE 'bad_request' END,
       CASE status WHEN 200 THEN NULL WHEN 400 THEN 'INVALID_REQUEST' ELSE 'ALL_PROVIDERS_FAILED' END,
       CASE status WHEN 200 THEN NULL ELSE status >= 429 END,
       jsonb_build_array(jsonb_build_object('provider', provider, 'provider_id', md5(provider)::uuid,
                                            'fate', status::text, 'ms', 200 + dice %% 900)),
       jsonb_build_object('plan', jsonb_build_object('weighted', false, 'max_attempts', 4, 'candidates',
           jsonb_build_array(jsonb_build_object('provider', provider, 'provider_id', md5(provider)::uuid,
                                                'weight', 100))), 'draws', jsonb_build_array(0.42)),
       200 + dice %% 900, 250 + dice %% 900, 900 + dice %% 4000, 0.21, 100 + dice %% 2000, 20 + dice %% 700, 0, 0,
       false, CASE status WHEN 200 THEN (20 + dice %% 700) * 0.0000006 END, false,
       '{"input": "0.15", "output": "0.6"}', '[]', false
FROM (
    SELECT ms, hash, dice,
           (ARRAY['openai', 'openai', 'openai', 'anthropic'])[1 + dice %% 4] AS provider,
           (ARRAY['gpt-4o-mini', 'gpt-4o-mini', 'gpt-4o', 'claude-sonnet-4-5'])[1 + dice %% 4] AS model,
           CASE WHEN dice %% 60 = 0 THEN 400 WHEN dice %% 120 = 1 THEN 502 WHEN dice %% 120 = 2 THEN 429 ELSE 200 END
               AS status
    FROM (
        SELECT %(since_ms)s + number * %(span_ms)s / %(rows)s AS ms, hash,
               ('x' || substr(hash, 20, 7))::bit(28)::int AS dice
        FROM (SELECT number, md5(%(since_ms)s || '/' || number) AS hash
              FROM generate_series(0, %(rows)s::bigint - 1) AS number) AS numbered
    ) AS thrown
) AS drawn
"""
_ROLL_UP = """
INSERT INTO tenant_daily_spend
    (tenant_id, day, provider, model, requests, unpriced_requests, input_tokens, output_tokens, cost_usd)
SELECT tenant_id, (created_at AT TIME ZONE 'UTC')::date, provider, model, count(*), count(*) FILTER (WHERE unpriced),
       sum(input_tokens), sum(output_tokens), coalesce(sum(cost_usd), 0)
FROM request_log WHERE tenant_id = %s GROUP BY 1, 2, 3, 4
"""


def fill(tenant: Tenant, rows: int, *, say: Callable[[str], object]) -> float:
    """Give a tenant without requests so many of them, spread evenly over the last month. Returns seconds."""
    began, now = time.monotonic(), datetime.now(UTC)
    partitions.ensure_days("request_log", [(now - timedelta(days=day)).date() for day in range(DAYS + 1)])
    first_ms = int(now.timestamp() * 1000) - DAYS * _DAY_MS
    with connection.cursor() as cursor:
        for day in range(DAYS):
            count = rows * (day + 1) // DAYS - rows * day // DAYS
            since_ms = first_ms + day * _DAY_MS
            cursor.execute(_FILL, {"tenant": tenant.id, "since_ms": since_ms, "span_ms": _DAY_MS, "rows": count})
            if (day + 1) % _DAYS_PER_LINE == 0:
                say(f"{rows * (day + 1) // DAYS:,} of {rows:,} rows are in the log")
        cursor.execute(_ROLL_UP, [tenant.id])
    # What autovacuum does to a table that was filled at the pace of real traffic.
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) request_log")
        cursor.execute("VACUUM (ANALYZE) tenant_daily_spend")
    return time.monotonic() - began
