"""Prompts and answers of all conversations."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import pluralize
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from llmchat.admin import counting
from llmchat.admin.base import ReadOnly, log_all
from llmchat.admin.filters import (
    DayFilter,
    FinishReasonFilter,
    OutcomeFilter,
    ProviderFilter,
    UserFilter,
)
from llmchat.admin.listed import jump
from llmchat.admin.look import ModelAdmin, display
from llmchat.admin.paging import NearerEnd, PageList
from llmchat.models import Message
from llmchat.models.workers import with_texts
from llmchat.reports import dashboard, usage, usage_csv
from llmchat.reports.exports import CONTENT_TYPES
from llmchat.reports.money import cost_of
from llmchat.reports.outcomes import LABELS, outcome_of, why


@admin.register(Message)
class MessageAdmin(ReadOnly, ModelAdmin):
    """Messages of all conversations, the latest first."""

    list_display = [
        "created_at",
        "user",
        "role",
        "outcome",
        "provider",
        "model",
        "output_tokens",
        "dollars",
        "error_code",
    ]
    list_filter = [
        ("role", ChoicesDropdownFilter),
        OutcomeFilter,
        FinishReasonFilter,
        ProviderFilter,
        ("user", UserFilter),
        ("created_at", DayFilter),
    ]
    # Figures of the front page link to the list with these.
    linked_by = frozenset({"model", "cost__isnull"})
    list_filter_submit = True
    list_select_related = ["user"]
    list_per_page = 30
    paginator = NearerEnd
    ordering = ["-created_at"]
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    actions = None
    readonly_fields = ["outcome", "reason", "place", "dollars"]

    def get_fields(self, request: HttpRequest, obj: Message | None = None) -> list[Any]:
        """Show all stored fields: how it ended first, and the cost as lists show it."""
        fields = super().get_fields(request, obj)
        is_answer = obj is None or obj.role == Message.Role.ASSISTANT
        ended = ("outcome", "reason")
        first = ended if is_answer else ()
        shown = ("dollars" if name == "cost" else name for name in fields)
        # The reason includes the error's detail.
        rest = (name for name in shown if name not in (*ended, "error_detail"))
        return list(dict.fromkeys([*first, *rest]))

    def get_urls(self) -> list[URLPattern]:
        """Add the download of the front page's figures."""
        view = self.admin_site.admin_view(self.export_usage)
        name = "llmchat_usage_csv"
        return [path("usage/<int:days>/csv/", view, name=name), *super().get_urls()]

    def export_usage(self, request: HttpRequest, days: int) -> HttpResponse:
        """Download the front page's figures, if the operator may see them there."""
        if not dashboard.may_see(request.user):
            raise PermissionDenied
        if days not in usage.RANGES:
            return HttpResponse("No such range", status=404)
        with_titles = dashboard.may_see_titles(request.user)
        lines = usage_csv.lines(usage.recent(days), with_titles=with_titles)
        what = "with titles" if with_titles else "without titles"
        span = f"{days} day{pluralize(days)}"
        said = f"Exported as csv: the usage of {span}, {what}."
        log_all(request, Message, [("", "")], said)
        return HttpResponse(
            "".join(lines),
            content_type=CONTENT_TYPES["csv"],
            headers={
                "Content-Disposition": f'attachment; filename="usage-{days}-days.csv"'
            },
        )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Return the class that reads a page of the list."""
        return PageList

    def get_paginator(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the paginator, with the count if that is already known."""
        paginator = super().get_paginator(request, *args, **kwargs)
        if (count := counting.known_count(request.GET)) is not None:
            paginator.count = count
        return paginator

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Message | None:
        """Show a running answer with its text so far."""
        found = super().get_object(request, object_id, from_field)
        return with_texts([found])[0] if found is not None else None

    @display(description=_("outcome"), label=LABELS)
    def outcome(self, message: Message) -> str | None:
        """Show how an answer ended, as a colored label; other messages have none."""
        if message.role != Message.Role.ASSISTANT:
            return None
        return str(outcome_of(message.state, message.finish_reason).label)

    @admin.display(description=_("why"))
    def reason(self, message: Message) -> str | None:
        """Show why an answer is not whole."""
        return why(message) or None

    @admin.display(description=_("in its conversation"))
    def place(self, message: Message) -> str:
        """Link to the message on its conversation's page."""
        return format_html(
            '<a class="llm-link" href="{}">{}</a>',
            jump(message.conversation_id, message.pk, message.position),
            message.conversation,
        )

    @admin.display(description=_("cost"), ordering="cost")
    def dollars(self, message: Message) -> str | None:
        """Show the cost of an answer that has ended; other messages have none."""
        is_counted = message.role == Message.Role.ASSISTANT and message.provider
        if not is_counted or message.state == Message.State.STREAMING:
            return None
        return cost_of(message)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Forbid it: messages are deleted with their conversation."""
        return False

    def delete_view(
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Refuse, even for superusers."""
        raise PermissionDenied
