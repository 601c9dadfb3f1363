"""Provider connections, the models they serve, and what became of every request."""

from typing import Any, ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models

from accounts.models import Tenant, TenantOwned, TenantQuerySet
from nexus.row_security import APPEND, NOTHING, READ, Privileges

NAME = RegexValidator(r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$", "Use up to 63 letters, digits, spaces, dots, _ and -.")


class Provider(TenantOwned):
    """A tenant's connection to one vendor account: where, with which key, which models, how preferred.

    The key is sealed with the row's id as context; a changed base_url wipes it (services.update_provider and a
    trigger).
    """

    name = models.CharField(max_length=63, validators=[NAME])
    family = models.CharField(max_length=32)
    base_url = models.CharField(max_length=500)
    api_key_sealed = models.TextField(blank=True, default="")
    api_key_last4 = models.CharField(max_length=4, blank=True, default="")
    weight = models.PositiveIntegerField(default=100, validators=[MaxValueValidator(1_000_000)])
    enabled = models.BooleanField(default=True)
    timeout_s = models.PositiveIntegerField(
        default=60, validators=[MinValueValidator(1), MaxValueValidator(600)]
    )  # seconds until the first content
    options = models.JSONField(default=dict, blank=True)
    simulated = models.BooleanField(default=False)  # answers come from a simulator, and every page says so
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant", "name"], name="one_provider_per_name")]

    def __str__(self) -> str:
        return self.name


class ModelRoute(TenantOwned):
    """A public model name that a provider serves, and the name that the provider itself uses."""

    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="routes")
    public_name = models.CharField(max_length=200)
    upstream_name = models.CharField(max_length=200)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["provider", "public_name"], name="one_route_per_model")
        ]

    def __str__(self) -> str:
        return f"{self.public_name} -> {self.upstream_name}"


class RequestLog(models.Model):
    """One row per client request, written by the shipper. Partitioned by day (UTC) of `created_at`.

    `id` is the x-request-id, a UUIDv7, and `created_at` is derived from it: a record shipped twice meets itself.
    `tenant`, `key_id` and `provider_id` are plain values: a log outlives what it is about.
    """

    database_privileges: ClassVar = Privileges(app=APPEND, tenant=READ)

    pk = models.CompositePrimaryKey("id", "created_at")
    id = models.UUIDField()
    created_at = models.DateTimeField()
    tenant = models.ForeignKey(Tenant, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False)
    key_id = models.UUIDField(null=True)
    endpoint = models.CharField(max_length=32)  # as in gateway.schema.Endpoint
    streamed = models.BooleanField(default=False)
    provider = models.CharField(max_length=32, null=True)  # the family that answered, or was tried last
    provider_id = models.UUIDField(null=True)
    model = models.CharField(max_length=200, null=True)  # the public name asked for
    upstream_model = models.CharField(max_length=200, null=True)
    status = models.PositiveSmallIntegerField()  # what the client got; 499: it hung up; 0: the process died
    error_class = models.CharField(max_length=40, null=True)
    error_code = models.CharField(max_length=40, null=True)  # the code of the body the client got
    retryable = models.BooleanField(null=True)
    attempts = models.JSONField(default=list)  # gateway.records.Attempt, in order
    decision = models.JSONField(null=True)  # gateway.records.Decision: how it was routed, to be replayed
    latency_ms = models.IntegerField(null=True)  # to the upstream's response headers
    ttft_ms = models.IntegerField(null=True)  # to the first content
    duration_ms = models.IntegerField(null=True)  # to the end of the answer
    overhead_ms = models.DecimalField(max_digits=10, decimal_places=3, null=True)
    input_tokens = models.IntegerField(null=True)
    output_tokens = models.IntegerField(null=True)
    cached_tokens = models.IntegerField(null=True)
    reasoning_tokens = models.IntegerField(null=True)
    usage_estimated = models.BooleanField(default=False)
    cost_usd = models.DecimalField(max_digits=20, decimal_places=9, null=True)  # NULL: unpriced
    unpriced = models.BooleanField(default=False)
    price = models.JSONField(null=True)  # the price used, USD per million tokens, as decimal strings
    prompt_version = models.CharField(max_length=120, null=True)
    policy_events = models.JSONField(default=list)
    simulated = models.BooleanField(default=False)

    objects: ClassVar[Any] = TenantQuerySet.as_manager()

    class Meta:
        db_table = "request_log"
        indexes: ClassVar = [
            models.Index(fields=["tenant", "-created_at", "-id"], name="request_log_by_tenant"),
            # Few rows of many, and those that people look for. They lie far apart, so counting them by status is to
            # need no row.
            models.Index(
                fields=["tenant", "-created_at", "-id"],
                name="request_log_failures",
                include=["status"],
                condition=models.Q(status__lt=200) | models.Q(status__gt=299),
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class KeyUse(models.Model):
    """How many requests of a key went to a provider in a month, and how many a process may still let through.

    `month` is the month's first day. Under the empty `process` stands what was used without a quota, or by processes
    that have ended. Another row is one runtime process's: `leased` is what it took of the key's monthly quota, used or
    not, and holds until `leased_until`; `requests` is what the log knows of it. The quota has used up the sum of the
    greater of the two. Both are changed by `lease_quota` and by the shipper only, which writes `requests` in the
    transaction of the log's rows.
    """

    pk = models.CompositePrimaryKey("key_id", "month", "process")
    key_id = models.UUIDField()
    month = models.DateField()
    process = models.CharField(max_length=200, blank=True, default="")
    tenant = models.ForeignKey(Tenant, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False)
    requests = models.BigIntegerField(db_default=0)
    seq = models.BigIntegerField(db_default=0)  # of the process's latest question
    leased = models.BigIntegerField(db_default=0)
    spare = models.BigIntegerField(db_default=0)  # of them unused, when it last asked
    leased_until = models.DateTimeField(null=True)

    objects: ClassVar[Any] = TenantQuerySet.as_manager()

    database_privileges: ClassVar = Privileges(tenant=READ)

    class Meta:
        db_table = "key_monthly_use"
        indexes: ClassVar = [
            models.Index(fields=["process"], name="key_use_by_process", condition=~models.Q(process=""))
        ]

    def __str__(self) -> str:
        return f"{self.key_id} {self.month} {self.requests}"


class CircuitEvent(models.Model):
    """A transition of a provider's circuit, with its reason."""

    database_privileges: ClassVar = Privileges(app=APPEND | {"DELETE"}, tenant=APPEND)  # deleted with their tenant

    id = models.UUIDField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")
    provider_id = models.UUIDField()
    created_at = models.DateTimeField()
    from_state = models.CharField(max_length=12)
    to_state = models.CharField(max_length=12)
    reason = models.CharField(max_length=200)

    objects: ClassVar[Any] = TenantQuerySet.as_manager()

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["tenant", "provider_id", "-created_at", "-id"], name="circuit_event_by_provider")
        ]

    def __str__(self) -> str:
        return f"{self.provider_id} {self.from_state} -> {self.to_state}"


class IdempotencyClaim(TenantOwned):
    """An `Idempotency-Key` of one API key: the request that runs under it, or ran, and its answer for 24 hours.

    `id` is the x-request-id of that request. The client's key is kept as its SHA-256, the answer sealed with the row's
    place as context (gateway/idempotency.py).
    """

    key_id = models.UUIDField()  # the API key
    key_hash = models.CharField(max_length=64)
    fingerprint = models.CharField(max_length=64)  # SHA-256 of method, path and body
    claimed_at = models.DateTimeField()
    leased_until = models.DateTimeField()  # renewed while the request runs
    expires_at = models.DateTimeField()
    status = models.PositiveSmallIntegerField(null=True)  # NULL: not finished
    answer_sealed = models.BinaryField(null=True)  # NULL with a status: too large to keep

    database_privileges: ClassVar = Privileges(tenant=NOTHING)  # the data plane's alone

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "key_id", "key_hash"], name="one_claim_per_idempotency_key")
        ]
        indexes: ClassVar = [models.Index(fields=["expires_at"], name="idempotency_by_expiry")]

    def __str__(self) -> str:
        return str(self.id)
