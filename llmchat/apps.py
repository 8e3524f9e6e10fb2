"""The application's configuration for Django."""

from django.apps import AppConfig


class LlmchatConfig(AppConfig):
    """The application, which connects the system checks and signals."""

    name = "llmchat"
    verbose_name = "LLM chat"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the checks and signals; called once, when all apps are loaded."""
        from django.contrib.auth import get_user_model
        from django.db.models.signals import (
            post_delete,
            post_migrate,
            post_save,
            pre_delete,
        )

        from llmchat import checks  # noqa: F401
        from llmchat.access.budgets import on_budget_delete
        from llmchat.access.roles import on_migrate
        from llmchat.answers.notices import on_key_change, on_user_change
        from llmchat.answers.stopping import (
            on_user_delete,
            on_users_delete,
            on_users_emptying,
        )
        from llmchat.books import day_totals
        from llmchat.models import (
            Budget,
            Price,
            Provider,
            ProviderAccess,
            ProviderKey,
            ProviderModel,
        )
        from llmchat.models.revision import watch

        # Connected first, so that the revision is locked before the rows it covers.
        watch(Budget, Price, Provider, ProviderAccess, ProviderKey, ProviderModel)
        get_user_model().emptying.connect(on_users_emptying)
        get_user_model().deleting.connect(on_users_delete)
        pre_delete.connect(on_user_delete, sender=get_user_model())
        pre_delete.connect(on_budget_delete, sender=Budget)
        post_migrate.connect(on_migrate)
        post_migrate.connect(day_totals.on_migrate, sender=self)
        for changed in (post_save, post_delete):
            changed.connect(on_user_change, sender=get_user_model())
            changed.connect(on_key_change, sender="accounts.ApiKey")
