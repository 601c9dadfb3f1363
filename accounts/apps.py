from django.apps import AppConfig
from django.core.checks import Tags, register

from accounts.checks import check_roles


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        register(check_roles, Tags.database)
