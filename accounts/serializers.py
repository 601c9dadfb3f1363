"""What the API of keys, members, settings and the audit log answers, as the OpenAPI document describes it.

The answers themselves are made in accounts/api.py; a test holds each of them to its description here.
"""

from typing import Any

from rest_framework import serializers

from accounts.models import Role, RoutingStrategy

Serializer = serializers.Serializer[Any]


class KeySerializer(Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    prefix = serializers.CharField(help_text="The key's first eight characters, by which people know it.")
    scopes = serializers.ListField(child=serializers.CharField())
    monthly_request_quota = serializers.IntegerField(allow_null=True)
    rpm = serializers.IntegerField(allow_null=True, help_text="Requests a minute.")
    tpm = serializers.IntegerField(allow_null=True, help_text="Tokens a minute.")
    max_concurrent = serializers.IntegerField(allow_null=True, help_text="Requests that run at once.")
    created_by = serializers.CharField(allow_null=True, help_text="An e-mail address, or null once the user is gone.")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    rotated_at = serializers.DateTimeField(allow_null=True)
    previous_expires_at = serializers.DateTimeField(
        allow_null=True, help_text="Until when the secret before the last rotation is good."
    )


class IssuedKeySerializer(KeySerializer):
    api_key = serializers.CharField(help_text="The key itself. It is shown this once.")


class MemberSerializer(Serializer):
    id = serializers.UUIDField()
    email = serializers.CharField()
    name = serializers.CharField()
    role = serializers.ChoiceField(choices=Role.choices)
    created_at = serializers.DateTimeField()


class SettingsSerializer(Serializer):
    tenant = serializers.CharField()
    name = serializers.CharField()
    routing_strategy = serializers.ChoiceField(choices=RoutingStrategy.choices)
    max_attempts = serializers.IntegerField()
    deadline_s = serializers.IntegerField()
    log_content = serializers.BooleanField()
    gitops_secret_set = serializers.BooleanField(help_text="Whether there is one; it is never shown.")
    default_embedding = serializers.CharField()


class ActorSerializer(Serializer):
    kind = serializers.ChoiceField(choices=("user", "key", "system"))
    id = serializers.UUIDField(allow_null=True)
    label = serializers.CharField()  # type: ignore[assignment]  # a member of that name


class TargetSerializer(Serializer):
    kind = serializers.CharField()
    id = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # a member of that name


class AuditEventSerializer(Serializer):
    id = serializers.UUIDField()
    created_at = serializers.DateTimeField()
    actor = ActorSerializer()
    action = serializers.CharField(help_text="Such as `key.created`.")
    target = TargetSerializer()
    changes = serializers.DictField(help_text="By member: before and after. Never a secret.")
    ip = serializers.CharField(allow_null=True)
    request_id = serializers.UUIDField(allow_null=True)
