"""Django's configuration of this application."""

from django.apps import AppConfig
from django.db.models.signals import post_delete, post_save, pre_save


class AccountsConfig(AppConfig):
    """Users, their tokens and API keys."""

    name = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the signals; called once, when Django has loaded all applications."""
        from accounts import remembered, revocation

        pre_save.connect(
            revocation.forget_token,
            sender="token_blacklist.OutstandingToken",
            dispatch_uid="accounts.forget_token",
        )
        for changed in (post_save, post_delete):
            changed.connect(
                remembered.forget_user,
                sender="accounts.User",
                dispatch_uid="accounts.forget_user",
            )
            changed.connect(
                remembered.forget_key,
                sender="accounts.ApiKey",
                dispatch_uid="accounts.forget_key",
            )
