from django.apps import AppConfig
from django.core.checks import Tags, register

from accounts.checks import check_roles
from console import palette


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts import views  # noqa: PLC0415  (models are loaded by now)
        from accounts.sign_in import listeners  # noqa: PLC0415

        listeners.listen()
        register(check_roles, Tags.database)
        palette.register("Pages", views.pages)
        palette.register("Tenants", views.tenants)
        palette.register("Actions", views.actions)
