"""The application's configuration for Django."""

from django.apps import AppConfig
from django.db.models.signals import pre_save


class AccountsConfig(AppConfig):
    """Users and their tokens."""

    name = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the signals; called once, when Django has loaded all applications."""
        from accounts import revocation

        pre_save.connect(
            revocation.forget_token,
            sender="token_blacklist.OutstandingToken",
            dispatch_uid="accounts.forget_token",
        )
