"""Providers in the admin: addresses, models, prices."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from llmchat.admin.fetching import FetchesModels
from llmchat.admin.keys import ProviderKeyInline
from llmchat.admin.models import ProviderModelInline
from llmchat.admin.permissions import ProviderAccessInline
from llmchat.models import Provider

_DESTINATION = ("name", "base_url", "protocol", "embedded")


@admin.register(Provider)
class ProviderAdmin(FetchesModels):
    """Providers: addresses, models, prices and keys."""

    inlines = [ProviderKeyInline, ProviderModelInline, ProviderAccessInline]
    list_display = [
        "label",
        "name",
        "default_model",
        "enabled",
        "users",
        "needs_key",
        "keys",
    ]
    list_editable = ["enabled"]
    list_filter = ["enabled", "restricted", "protocol"]
    search_fields = ["name", "label", "default_model"]
    fieldsets = [
        (None, {"fields": ["name", "label", "enabled", "default_model", "fallback"]}),
        (
            _("Connection"),
            {"fields": ["protocol", "base_url", "needs_key", "embedded"]},
        ),
        (
            _("Model parameters"),
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
        (
            _("Prices"),
            {
                "fields": ["input_price", "output_price"],
                "description": _("For models that have no price of their own."),
            },
        ),
        (_("Access"), {"fields": ["restricted"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        """Count the keys in the same query, and read the groups in one more."""
        enabled = Count("keys", filter=Q(keys__enabled=True))
        rows: QuerySet[Provider] = super().get_queryset(request)
        return rows.annotate(enabled_keys=enabled).prefetch_related("access__group")

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Hide the columns about keys and groups from those who may not view them."""
        hidden = []
        if not request.user.has_perm("llmchat.view_providerkey"):
            hidden.append("keys")
        if not request.user.has_perm("llmchat.view_provideraccess"):
            hidden.append("users")
        return [name for name in self.list_display if name not in hidden]

    def get_readonly_fields(
        self, request: HttpRequest, obj: Provider | None = None
    ) -> list[str]:
        """Let only superusers change where keys are sent, which the name decides too.

        Opening a provider to everyone takes the permission to change its groups.
        """
        fixed = [] if _is_superuser(request) else [*_DESTINATION]
        may_open = request.user.has_perm("llmchat.change_provideraccess")
        return fixed if may_open else [*fixed, "restricted"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Let only superusers add providers, since keys are sent to them."""
        return _is_superuser(request)

    @admin.display(description=_("who may use it"), ordering="restricted")
    def users(self, provider: Provider) -> str:
        """Show the groups with access, or that it is open to everyone."""
        if not provider.restricted:
            return "everyone"
        groups = ", ".join(str(access.group) for access in provider.access.all())
        return groups or "superusers only"

    @admin.display(description=_("stored keys"))
    def keys(self, provider: Any) -> int:
        """Show the number of enabled keys."""
        return int(provider.enabled_keys)


def _is_superuser(request: HttpRequest) -> bool:
    return request.user.is_active and request.user.is_superuser
