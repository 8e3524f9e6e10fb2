"""Running answers in the admin, and how to stop them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from llmchat.admin.base import ReadOnly, log_all
from llmchat.admin.look import ModelAdmin, action, display
from llmchat.answers import stopping
from llmchat.books.sweep import sweep
from llmchat.models import Message, RunningStream
from llmchat.models.workers import first_written_at, with_length
from llmchat.reports import search

_STOP = "_stop"


def may_stop(request: HttpRequest) -> bool:
    """Return whether the operator may stop other people's streams."""
    return request.user.has_perm("llmchat.change_runningstream")


def stop(request: HttpRequest, answers: QuerySet[Message]) -> int:
    """Stop the running ones of `answers`, log who did it, and return how many."""
    stopped = stopping.stop(answers)
    named = ((ident, f"Answer {ident}") for ident in stopped)
    log_all(request, Message, named, "Stopped.")
    return len(stopped)


def too_late(count: int) -> str:
    """Return the message that none of `count` answers was stopped, and why."""
    return ngettext(
        "Nothing to stop: the answer had already ended.",
        "Nothing to stop: the answers had already ended.",
        count,
    )


@admin.register(RunningStream)
class RunningStreamAdmin(ReadOnly, ModelAdmin):
    """Running answers of all workers."""

    list_display = [
        "conversation_link",
        "user",
        "provider",
        "model",
        "running_for",
        "written",
        "phase",
    ]
    list_display_links = None
    list_select_related = ["user", "conversation"]
    # Not the text: the permission to watch streams does not allow reading them.
    fields = [
        "user",
        "provider",
        "model",
        "created_at",
        "first_token",
        "attempts",
        "worker",
    ]
    list_before_template = "admin/llmchat/runningstream/refresh.html"
    ordering = ["created_at"]
    actions = ["stop_selected"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[RunningStream]:
        """List running answers with the length of their text, not the text."""
        rows: QuerySet[RunningStream] = super().get_queryset(request)
        running = rows.filter(state=Message.State.STREAMING).defer("content")
        return with_length(running)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Add the button or hide the conversation, as permissions demand."""
        columns = list(super().get_list_display(request))
        if not request.user.has_perm("llmchat.view_conversation"):
            columns.remove("conversation_link")
        return [*columns, "button"] if may_stop(request) else columns

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list, or stop the stream whose button was pressed."""
        if request.method == "POST" and _STOP in request.POST:
            if may_stop(request):
                ident = search.as_id(request.POST[_STOP])
                rows = Message.objects.filter(pk__in=[ident] if ident else [])
                self._say(request, stop(request, rows), of=1)
            return HttpResponseRedirect(request.get_full_path())
        # End the answers of dead processes.
        sweep()
        response: HttpResponse = super().changelist_view(request, extra_context)
        return response

    def has_stop_permission(self, request: HttpRequest) -> bool:
        """Check the permission of the action."""
        return may_stop(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Forbid it: a stream is stopped instead."""
        return False

    @action(description=_("Stop selected streams"), permissions=["stop"])
    def stop_selected(
        self, request: HttpRequest, queryset: QuerySet[RunningStream]
    ) -> None:
        """Stop the selected streams."""
        idents = list(queryset.values_list("pk", flat=True))
        count = stop(request, Message.objects.filter(pk__in=idents))
        self._say(request, count, of=len(idents))

    @admin.display(description=_("conversation"))
    def conversation_link(self, stream: RunningStream) -> str:
        """Link to the conversation."""
        url = reverse(
            "admin:llmchat_conversation_change", args=[stream.conversation_id]
        )
        return format_html(
            '<a class="llm-link" href="{}">{}</a>', url, stream.conversation
        )

    @admin.display(description=_("running for"), ordering=F("created_at").desc())
    def running_for(self, stream: RunningStream) -> str:
        """Show how long the answer has been running."""
        seconds = (timezone.now() - stream.created_at).total_seconds()
        return f"{max(0, seconds):.0f} s"

    @admin.display(description=_("text so far"))
    def written(self, stream: Any) -> str:
        """Show the length of the stored text."""
        return f"{stream.length or 0:,} characters"

    @admin.display(description=_("first token at"))
    def first_token(self, stream: Any) -> datetime | None:
        """Show when the first token arrived, if that is stored."""
        return first_written_at(stream.pk)

    @display(
        description=_("state"),
        label={"streaming": "info", "waiting": "warning", "stopping": "danger"},
    )
    def phase(self, stream: Any) -> str:
        """Show whether the answer is waiting, streaming or stopping."""
        if stream.stop_requested:
            return "stopping"
        return "streaming" if stream.length else "waiting"

    @admin.display(description=_("stop"))
    def button(self, stream: Any) -> str:
        """Show a button that submits the list's own form, until it has been pressed."""
        if stream.stop_requested:
            return "–"
        return format_html(
            '<button class="llm-stop" name="{}" value="{}">Stop</button>',
            _STOP,
            stream.pk,
        )

    def _say(self, request: HttpRequest, count: int, *, of: int) -> None:
        if count:
            text = ngettext("Stopping %d answer.", "Stopping %d answers.", count)
            self.message_user(request, text % count, level=messages.SUCCESS)
        else:
            self.message_user(request, too_late(of), level=messages.WARNING)
