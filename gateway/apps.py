from django.apps import AppConfig

from console.navigation import Entry, register


class GatewayConfig(AppConfig):
    name = "gateway"

    def ready(self) -> None:
        register(Entry("overview", "Overview", "layout-dashboard", key="o"))
