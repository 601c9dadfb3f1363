from django.apps import AppConfig

from console import palette
from console.navigation import Entry, register


class GatewayConfig(AppConfig):
    name = "gateway"

    def ready(self) -> None:
        from gateway import board, key_pages, request_pages  # noqa: PLC0415  (models are loaded by now)

        register(
            Entry("overview", "Overview", "layout-dashboard", key="o"),
            Entry("requests", "Requests", "scroll-text", group="Gateway", scope="analytics:read", order=10, key="r"),
            Entry(
                "providers", "Providers", "route", group="Gateway", scope="analytics:read", order=20, key="p",
                badge=board.open_badge,
            ),
            Entry("keys", "API keys", "key-round", group="Gateway", scope="keys:read", order=30, key="k"),
        )  # fmt: skip
        palette.register("Requests", request_pages.find_requests)
        palette.register("Keys", key_pages.find_keys)
