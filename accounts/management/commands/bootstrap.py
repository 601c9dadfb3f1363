"""`manage.py bootstrap`: a tenant, a user, their role and, on request, an API key. Safe to run again."""

import json
import sys
from getpass import getpass
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts import services
from accounts.audit import Actor, log
from accounts.models import Membership, Role, Tenant, User
from accounts.rbac import ROLE_SCOPES, SCOPES
from nexus.errors import NexusError

ACTOR = Actor.system("manage.py bootstrap")


class Command(BaseCommand):
    help = "Create a tenant, a user with a role in it and, with --scopes, a new API key. Idempotent but for the key."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", required=True, metavar="SLUG")
        parser.add_argument("--email", required=True)
        parser.add_argument(
            "--password", required=True, help="'-' asks for it, or reads it from a pipe: no list of processes shows it"
        )
        parser.add_argument("--role", default=Role.ADMIN, choices=Role.values)
        parser.add_argument("--scopes", default="", help=f"comma list of: {', '.join(SCOPES)}")
        parser.add_argument("--json", action="store_true", help="print one line of JSON and nothing else")

    def handle(self, *args: Any, **options: Any) -> None:
        password = _asked() if options["password"] == "-" else options["password"]  # noqa: S105
        try:
            with transaction.atomic():
                tenant = _tenant(options["tenant"])
                user = _user(options["email"].strip().lower(), password)
                role = _role(tenant, user, options["role"])
                key = _key(tenant, user, role, options["scopes"])
        except NexusError as error:
            raise CommandError(error.message) from error
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        if options["json"]:
            self.stdout.write(json.dumps({"tenant": tenant.slug, "user": user.email, "api_key": key}))
            return
        self.stdout.write(f"{user.email} is {role} of {tenant.slug}.")
        if key is not None:
            self.stdout.write(f"API key, shown this once: {key}")


def _asked() -> str:
    return getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")


def _tenant(slug: str) -> Tenant:
    found = Tenant.objects.filter(slug=slug).first()
    return found or services.create_tenant(slug=slug, name=slug, actor=ACTOR)


def _user(email: str, password: str) -> User:
    user = User.objects.filter(email=email).first()
    if user is None:
        user = User(email=email)
        user.full_clean(exclude=["password"])
        validate_password(password, user)
        user.set_password(password)
        user.save()
        log(actor=ACTOR, action="user.created", target=user, tenant=None)
    elif not user.check_password(password):
        # Only a password that differs is set: setting the same one anew would end every session of the user.
        validate_password(password, user)
        user.set_password(password)
        user.save(update_fields=["password"])
        log(actor=ACTOR, action="user.password_set", target=user, tenant=None)
    return user


def _role(tenant: Tenant, user: User, role: str) -> str:
    membership = Membership.objects.for_tenant(tenant).filter(user=user).first()
    if membership is None:
        services.add_member(tenant, email=user.email, role=role, actor=ACTOR)
    elif membership.role != role:
        services.change_role(membership.id, tenant, role=role, actor=ACTOR)
    return role


def _key(tenant: Tenant, user: User, role: str, scopes: str) -> str | None:
    asked = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    if not asked:
        return None
    _, plaintext = services.issue_key(
        tenant, actor=ACTOR, holder=user, held=ROLE_SCOPES[role], name="bootstrap", scopes=asked
    )
    return plaintext
