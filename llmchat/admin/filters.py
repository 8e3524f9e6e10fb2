"""The filters of the admin's lists."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import ModelAdmin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import DropdownFilter

from llmchat.admin.base import provider_choices


class ProviderFilter(DropdownFilter):
    """By the provider's name, which a message keeps when the provider goes."""

    title = _("provider")
    parameter_name = "provider"

    def lookups(
        self, request: HttpRequest, model_admin: ModelAdmin[Any]
    ) -> list[tuple[str, Any]]:
        """Return the providers to choose from."""
        return provider_choices()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow the list down."""
        name = self.value()
        return queryset.filter(provider=name) if name else queryset
