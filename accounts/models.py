"""Tenants, people, their roles, API keys and the audit log: the floor that every other app stands on."""

from typing import Any, ClassVar, Self
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models.functions import Lower

from nexus.ids import uuid7
from nexus.row_security import APPEND, NOTHING, READ, Privileges

SLUG = RegexValidator(r"^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$", "Use 1 to 32 lower-case letters, digits and hyphens.")


class Role(models.TextChoices):
    ADMIN = "admin"
    DEVELOPER = "developer"
    VIEWER = "viewer"


class RoutingStrategy(models.TextChoices):
    PRIORITY = "priority", "Highest weight first"
    WEIGHTED = "weighted", "Random, in proportion to weight"


class Tenant(models.Model):
    """A customer of this installation: everything but users belongs to exactly one."""

    database_privileges: ClassVar = Privileges(tenant=READ | {"UPDATE"})

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slug = models.CharField(max_length=32, unique=True, validators=[SLUG])
    name = models.CharField(max_length=100)
    routing_strategy = models.CharField(
        max_length=16, choices=RoutingStrategy.choices, default=RoutingStrategy.PRIORITY
    )
    max_attempts = models.PositiveSmallIntegerField(default=4)  # upstream calls per request, retries included
    deadline_s = models.PositiveIntegerField(default=120)  # seconds until a request must have its first content
    log_content = models.BooleanField(default=False)
    gitops_secret_sealed = models.TextField(blank=True, default="")
    default_embedding = models.CharField(max_length=200, blank=True, default="")
    is_demo = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(max_attempts__gte=1, max_attempts__lte=20), name="max_attempts_1_20"
            ),
            models.CheckConstraint(condition=models.Q(deadline_s__gte=1, deadline_s__lte=600), name="deadline_s_1_600"),
        ]

    def __str__(self) -> str:
        return self.slug


class TenantQuerySet[Owned: models.Model](models.QuerySet[Owned]):
    """The one way to a tenant's rows."""

    def for_tenant(self, tenant: Tenant | UUID) -> Self:
        """Return the rows of one tenant; everything else does not exist for the caller."""
        return self.filter(tenant=tenant)


class TenantOwned(models.Model):
    """A row that belongs to one tenant."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")

    objects: ClassVar[Any] = TenantQuerySet.as_manager()

    class Meta:
        abstract = True


class UserManager(BaseUserManager["User"]):
    """Makes users who sign in by e-mail address."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=(username or "").strip().lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A person. What they may do is said by their memberships; `is_staff` opens the operators' admin.

    People are the installation's, not a tenant's: no request for a tenant may make or change one.
    """

    database_privileges: ClassVar = Privileges(tenant=READ)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=100, blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    date_joined = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[UserManager] = UserManager()
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(Lower("email"), name="one_user_per_email")]

    def __str__(self) -> str:
        return self.email

    def clean(self) -> None:
        """Bring the address to the one form in which people are looked up when they sign in."""
        super().clean()
        self.email = self.email.strip().lower()


class Membership(TenantOwned):
    """A person's role in a tenant. The database keeps every tenant at least one admin (trigger in the migration)."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "user"], name="one_membership_per_user"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} {self.role}"


class Invitation(TenantOwned):
    """A place in a tenant, offered to an e-mail address by a link that is good once.

    Only the SHA-256 of the link's secret is kept.
    """

    email = models.EmailField()
    role = models.CharField(max_length=16, choices=Role.choices)
    token_hash = models.CharField(max_length=64, unique=True)  # SHA-256, hexadecimal
    invited_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                "tenant",
                Lower("email"),
                condition=models.Q(accepted_at=None, revoked_at=None),
                name="one_open_invitation_per_email",
            ),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="invited_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.email} {self.role}"


class SignedInSession(models.Model):
    """Where a person is signed in, for the page that shows it to them and ends it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="signed_in_sessions")
    session_key = models.CharField(max_length=40, unique=True)  # as the sessions' own table has it: a hash
    created_at = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField(auto_now_add=True)
    method = models.CharField(max_length=40)  # "password", "password and code", "passkey", "single sign-on"
    ip = models.GenericIPAddressField(null=True)
    agent = models.CharField(max_length=200, blank=True)  # what the browser calls itself

    def __str__(self) -> str:
        return f"{self.user_id} since {self.created_at}"


class Throttle(models.Model):
    """A count of attempts, or a lock on one (accounts/throttle.py), until it runs out."""

    database_privileges: ClassVar = Privileges(tenant=NOTHING)

    key = models.CharField(primary_key=True, max_length=255)
    value = models.TextField()  # JSON
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.key


class ApiKey(TenantOwned):
    """A key for programs. Only its SHA-256 is kept; the plaintext is shown once, when it is made or rotated.

    It never holds more than the role of `created_by` allows at the moment of use: see `accounts.rbac`.
    """

    LIMITS: ClassVar = ("monthly_request_quota", "rpm", "tpm", "max_concurrent")

    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=8)
    key_hash = models.CharField(max_length=64, unique=True)  # SHA-256 of the whole key, hexadecimal
    scopes = ArrayField(models.CharField(max_length=40))
    # Limits, counted over all processes; NULL: none.
    monthly_request_quota = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    rpm = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])  # requests a minute
    tpm = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])  # tokens a minute
    max_concurrent = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])  # at once
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    rotated_at = models.DateTimeField(null=True, blank=True)
    previous_hash = models.CharField(
        max_length=64, null=True, blank=True, unique=True
    )  # of the secret before, in grace
    previous_expires_at = models.DateTimeField(null=True, blank=True)  # until when that one is good

    class Meta:
        indexes: ClassVar = [models.Index(fields=["tenant", "-created_at", "-id"], name="api_key_by_tenant")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(previous_hash=None) | models.Q(previous_expires_at__isnull=False),
                name="grace_has_an_end",
            ),
            # NULL, no limit, satisfies it.
            models.CheckConstraint(
                condition=models.Q(rpm__gte=1) & models.Q(tpm__gte=1) & models.Q(max_concurrent__gte=1),
                name="key_limits_positive",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.prefix}… {self.name}"


class AuditEvent(models.Model):
    """Who did what, when, from where. Append-only: a trigger refuses UPDATE, DELETE and TRUNCATE.

    Each row is a link of its tenant's chain, so that what is done past the triggers shows: `manage.py verify_audit`.
    """

    database_privileges: ClassVar = Privileges(app=APPEND, tenant=APPEND)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.DO_NOTHING, null=True, related_name="+", db_constraint=False)
    created_at = models.DateTimeField(auto_now_add=True)
    actor_kind = models.CharField(max_length=8)  # user, key or system
    actor_id = models.UUIDField(null=True)
    actor_label = models.CharField(max_length=254)  # e-mail address, key prefix and name, or the command
    action = models.CharField(max_length=60)  # "key.created"
    target_kind = models.CharField(max_length=40)
    target_id = models.CharField(max_length=64)
    target_label = models.CharField(max_length=254, blank=True)
    changes = models.JSONField(default=dict)  # {"field": [before, after]}; never a secret
    ip = models.GenericIPAddressField(null=True)
    request_id = models.UUIDField(null=True)

    objects: ClassVar[Any] = TenantQuerySet.as_manager()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["tenant", "-created_at", "-id"], name="audit_by_tenant")]

    def __str__(self) -> str:
        return f"{self.action} {self.target_kind} {self.target_id}"


class AuditLink(models.Model):
    """The place of an audit row in its tenant's chain. Made at the commit by a trigger, which alone may write here.

    `hash` is that of the row, its place and the hash before it (accounts/audit_chain.py). Append-only, as the log is.
    """

    database_privileges: ClassVar = Privileges(app=READ, tenant=READ)

    event_id = models.UUIDField(primary_key=True)
    tenant = models.ForeignKey(
        Tenant, on_delete=models.DO_NOTHING, null=True, related_name="+", db_constraint=False, db_index=False
    )
    place = models.BigIntegerField()  # 1 is the first
    chained_at = models.DateTimeField()  # by the database's clock, which no writer of a row can set
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "place"], nulls_distinct=False, name="one_row_per_place")
        ]

    def __str__(self) -> str:
        return f"row {self.place} of the chain"


class AuditHead(models.Model):
    """Where a chain of audit rows ends. Its id is the tenant's, or the nil UUID for rows of the installation."""

    database_privileges: ClassVar = Privileges(app=READ, tenant=NOTHING)

    id = models.UUIDField(primary_key=True)
    length = models.BigIntegerField()
    hash = models.CharField(max_length=64)

    def __str__(self) -> str:
        return f"{self.length} rows"


class ConfigRevision(models.Model):
    """One row whose number rises with every committed change of what the runtime's snapshot holds.

    A deferred constraint trigger raises it as the very last step of the changing transaction, so the numbers become
    visible in their order and whoever polls never misses one.
    """

    database_privileges: ClassVar = Privileges(app=READ, tenant=NOTHING)

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    revision = models.BigIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [models.CheckConstraint(condition=models.Q(id=1), name="one_config_revision")]

    def __str__(self) -> str:
        return str(self.revision)


class ConfigChange(models.Model):
    """Which tenant a revision changed."""

    database_privileges: ClassVar = Privileges(app=READ | {"DELETE"}, tenant=NOTHING)

    revision = models.BigIntegerField(primary_key=True)
    tenant_id = models.UUIDField()
    created_at = models.DateTimeField(db_default=models.functions.Now())

    def __str__(self) -> str:
        return f"{self.revision} {self.tenant_id}"
