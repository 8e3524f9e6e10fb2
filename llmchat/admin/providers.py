"""Providers in the admin: addresses, models, prices."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from llmchat.admin.budgets import ProviderAccessInline
from llmchat.admin.keys import ProviderKeyInline
from llmchat.admin.look import ModelAdmin
from llmchat.models import Provider

_DESTINATION = ("name", "base_url", "protocol", "embedded")


@admin.register(Provider)
class ProviderAdmin(ModelAdmin):
    """Providers: addresses, models, prices and keys."""

    inlines = [ProviderKeyInline, ProviderAccessInline]
    list_display = ["label", "name", "default_model", "enabled", "needs_key", "keys"]
    list_editable = ["enabled"]
    list_filter = ["enabled", "protocol"]
    search_fields = ["name", "label", "default_model"]
    fieldsets = [
        (None, {"fields": ["name", "label", "enabled", "default_model", "fallback"]}),
        (
            _("Connection"),
            {"fields": ["protocol", "base_url", "needs_key", "embedded"]},
        ),
        (
            _("What the model takes"),
            {
                "fields": [
                    "max_tokens_field",
                    "max_output_tokens",
                    "accepts_sampling",
                    "temperature_max",
                    "system_role",
                    "thinking",
                    "include_usage",
                ]
            },
        ),
        (_("Prices"), {"fields": ["input_price", "output_price"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        """Count the keys in the same query."""
        enabled = Count("keys", filter=Q(keys__enabled=True))
        rows: QuerySet[Provider] = super().get_queryset(request)
        return rows.annotate(enabled_keys=enabled)

    def get_readonly_fields(
        self, request: HttpRequest, obj: Provider | None = None
    ) -> list[str]:
        """Leave it to administrators where keys are sent; a name decides it, too."""
        return [] if _is_superuser(request) else [*_DESTINATION]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Leave new providers to administrators: each is a place to send keys to."""
        return _is_superuser(request)

    @admin.display(description=_("stored keys"))
    def keys(self, provider: Any) -> int:
        """Show how many keys are stored and enabled."""
        return int(provider.enabled_keys)


def _is_superuser(request: HttpRequest) -> bool:
    return request.user.is_active and request.user.is_superuser
