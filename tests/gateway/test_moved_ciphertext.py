"""A provider's sealed key that was copied to another row."""

from gateway.models import Provider
from gateway.snapshot import Snapshot
from gateway.snapshot_loader import load
from tests.gateway.conftest import Client


def test_a_ciphertext_on_another_row_keeps_that_provider_out_of_the_snapshot(client: Client) -> None:
    first = client.add_provider("https://a.example", name="first", models={"a": "a"})
    second = client.add_provider("https://b.example", name="second", models={"b": "b"})
    assert set(load(Snapshot()).tenants[client.tenant.id].routes) == {"a", "b"}

    Provider.objects.filter(id=second.id).update(api_key_sealed=first.api_key_sealed)

    assert set(load(Snapshot()).tenants[client.tenant.id].routes) == {"a"}
