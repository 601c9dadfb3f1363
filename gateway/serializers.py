"""What the API of providers, circuits and requests answers, as the OpenAPI document describes it.

The answers themselves are made in gateway/api_providers.py and gateway/api_requests.py; a test holds each of them to
its description here.
"""

from typing import Any

from rest_framework import serializers

from gateway.circuit import Status

Serializer = serializers.Serializer[Any]


class TransitionSerializer(Serializer):
    at = serializers.DateTimeField()
    to = serializers.CharField()
    reason = serializers.CharField()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {**super().get_fields(), "from": serializers.CharField()}  # a word of Python's


class CircuitStateSerializer(Serializer):
    state = serializers.ChoiceField(choices=[state.value for state in Status])
    consecutive_failures = serializers.IntegerField()
    opened_at = serializers.DateTimeField(allow_null=True)
    half_open_at = serializers.DateTimeField(allow_null=True, help_text="When an open one admits its first probe.")
    last_transition = TransitionSerializer(allow_null=True)


class CircuitSerializer(CircuitStateSerializer):
    provider_id = serializers.UUIDField()
    name = serializers.CharField()
    family = serializers.CharField()


class CircuitListSerializer(Serializer):
    data = CircuitSerializer(many=True)  # type: ignore[assignment]  # a member of that name
    next_cursor = serializers.CharField(allow_null=True, help_text="Always null: all circuits come at once.")
    backend = serializers.ChoiceField(
        choices=("redis", "local"), help_text="`local` while the state shared by all processes cannot be read."
    )


class ProviderSerializer(Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    family = serializers.CharField()
    base_url = serializers.CharField()
    api_key_last4 = serializers.CharField(help_text="Empty without a key, and of a short one.")
    weight = serializers.IntegerField()
    enabled = serializers.BooleanField()
    timeout_s = serializers.IntegerField(help_text="Seconds until the first content.")
    models = serializers.DictField(child=serializers.CharField(), help_text="Upstream names by public names.")
    options = serializers.DictField()
    simulated = serializers.BooleanField()
    circuit = CircuitStateSerializer()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class ChangedProviderSerializer(ProviderSerializer):
    warnings = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="What the change did beside, such as deleting a key."
    )


class ProviderTestSerializer(Serializer):
    ok = serializers.BooleanField()
    latency_ms = serializers.IntegerField(allow_null=True)
    status = serializers.IntegerField(allow_null=True)
    error = serializers.CharField(allow_null=True)


class AttemptSerializer(Serializer):
    provider = serializers.CharField(help_text="The family.")
    provider_id = serializers.UUIDField()
    fate = serializers.CharField(help_text="`200`, another status, `timeout`, `circuit_open`, …")
    ms = serializers.IntegerField()
    circuit = serializers.CharField(required=False, help_text="As it was met, where that was not `closed`.")
    kind = serializers.CharField(required=False, help_text="The class of its failure.")


class RequestSerializer(Serializer):
    id = serializers.UUIDField()
    created_at = serializers.DateTimeField()
    endpoint = serializers.CharField()
    streamed = serializers.BooleanField()
    provider = serializers.CharField(allow_null=True, help_text="The family that answered, or was tried last.")
    provider_id = serializers.UUIDField(allow_null=True)
    model = serializers.CharField(allow_null=True)
    upstream_model = serializers.CharField(allow_null=True)
    status = serializers.IntegerField(help_text="499: the client hung up; 0: the process died.")
    error_class = serializers.CharField(allow_null=True)
    error_code = serializers.CharField(allow_null=True)
    retryable = serializers.BooleanField(allow_null=True)
    attempts = AttemptSerializer(many=True)
    decision = serializers.DictField(allow_null=True, help_text="How it was routed, to be replayed.")
    latency_ms = serializers.IntegerField(allow_null=True, help_text="To the upstream's response headers.")
    ttft_ms = serializers.IntegerField(allow_null=True, help_text="To the first content.")
    duration_ms = serializers.IntegerField(allow_null=True)
    overhead_ms = serializers.FloatField(allow_null=True)
    input_tokens = serializers.IntegerField(allow_null=True)
    output_tokens = serializers.IntegerField(allow_null=True)
    cached_tokens = serializers.IntegerField(allow_null=True)
    reasoning_tokens = serializers.IntegerField(allow_null=True)
    usage_estimated = serializers.BooleanField()
    cost_usd = serializers.CharField(allow_null=True, help_text="A decimal string; null where no price is known.")
    price = serializers.DictField(allow_null=True, help_text="The price used, USD per million tokens.")
    key_id = serializers.UUIDField(allow_null=True)
    prompt_version = serializers.CharField(allow_null=True)
    policy_events = serializers.ListField(child=serializers.DictField())
    simulated = serializers.BooleanField()
