"""Prompts and answers of all conversations."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from llmchat.admin.base import STATE_LABELS, ReadOnly, dollars
from llmchat.admin.filters import DayFilter, ProviderFilter, UserFilter
from llmchat.admin.look import ModelAdmin, display
from llmchat.models import Message
from llmchat.models.workers import with_texts
from llmchat.reports.unpriced import is_unpriced


@admin.register(Message)
class MessageAdmin(ReadOnly, ModelAdmin):
    """Messages of all conversations, the latest first."""

    list_display = [
        "created_at",
        "user",
        "role",
        "state_label",
        "provider",
        "model",
        "output_tokens",
        "dollars",
        "error_code",
    ]
    list_filter = [
        ("role", ChoicesDropdownFilter),
        ("state", ChoicesDropdownFilter),
        ProviderFilter,
        ("user", UserFilter),
        ("created_at", DayFilter),
    ]
    list_filter_submit = True
    list_select_related = ["user"]
    ordering = ["-created_at"]
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    actions = None

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Message | None:
        """Show a running answer with its text so far."""
        found = super().get_object(request, object_id, from_field)
        return with_texts([found])[0] if found is not None else None

    @display(description=_("state"), label=STATE_LABELS, ordering="state")
    def state_label(self, message: Message) -> str:
        """Show the state with its colour."""
        return str(Message.State(message.state).label)

    @admin.display(description=_("cost"), ordering="cost")
    def dollars(self, message: Message) -> str:
        """Show the cost of an answer, or that its model has no price."""
        return "not priced" if is_unpriced(message) else dollars(message.cost)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Forbid it: messages are deleted with their conversation."""
        return False

    def delete_view(
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Refuse, for superusers as well."""
        raise PermissionDenied
