"""The application's entry in Django's registry."""

from django.apps import AppConfig


class LlmchatConfig(AppConfig):
    """Registers the system checks once the applications are loaded."""

    name = "llmchat"
    verbose_name = "LLM chat"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Called once, when Django has loaded every application."""
        from llmchat import checks  # noqa: F401
