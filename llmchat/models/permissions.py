"""Which groups may use which providers."""

from __future__ import annotations

from django.contrib.auth.models import Group
from django.db import models
from django.utils.translation import gettext_lazy as _

from llmchat.models.revision import Watched


class ProviderAccess(Watched):
    """A group that may use a restricted provider, and which models of it.

    Whether a provider is restricted is a field of the provider: when its last group is
    deleted, only superusers may use it.
    """

    provider = models.ForeignKey(
        "llmchat.Provider", on_delete=models.CASCADE, related_name="access"
    )
    group = models.ForeignKey(
        Group, on_delete=models.CASCADE, related_name="provider_access"
    )
    allowed_models = models.TextField(
        blank=True,
        help_text=_(
            "One model name per line; * matches any characters. Leave blank to allow "
            "all models."
        ),
    )

    class Meta:
        ordering = ["pk"]
        verbose_name = _("permission")
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "group"],
                name="provider_access_of_a_group",
            )
        ]

    def __str__(self) -> str:
        return f"{self.group}"

    @property
    def patterns(self) -> tuple[str, ...]:
        """Return the patterns of the models that the group may use."""
        lines = (line.strip() for line in self.allowed_models.splitlines())
        return tuple(line for line in lines if line) or ("*",)
