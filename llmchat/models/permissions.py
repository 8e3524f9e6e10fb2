"""Which groups may use which providers."""

from __future__ import annotations

from django.contrib.auth.models import Group
from django.db import models
from django.utils.translation import gettext_lazy as _


class ProviderAccess(models.Model):
    """That a group may use a provider.

    A provider that no row speaks of may be used by everyone; any other one by
    superusers and by the members of the groups named.
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
            "Names of models, one on a line, * for any characters; blank: all models."
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
        """The patterns of models that the group may use."""
        lines = (line.strip() for line in self.allowed_models.splitlines())
        return tuple(line for line in lines if line) or ("*",)
