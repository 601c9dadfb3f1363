from django.apps import AppConfig
from django.core.checks import Tags, register

from accounts.checks import check_roles
from console import navigation, palette
from console.navigation import Entry


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts import views  # noqa: PLC0415  (models are loaded by now)
        from accounts.sign_in import listeners  # noqa: PLC0415

        listeners.listen()
        navigation.register(
            Entry("members", "Members", "users", group="Govern", scope="members:read", order=30),
            Entry("settings", "Settings", "settings-2", group="Govern", scope="members:read", order=40),
            Entry("audit", "Audit log", "history", group="Observe", scope="audit:read", order=30),
        )
        register(check_roles, Tags.database)
        palette.register("Pages", views.pages)
        palette.register("Tenants", views.tenants)
        palette.register("Actions", views.actions)
