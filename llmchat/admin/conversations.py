"""Conversations in the admin: search, read, export, delete."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.core.exceptions import PermissionDenied
from django.db.models import F, QuerySet
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.defaultfilters import pluralize
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from accounts.deletion import summary
from accounts.errors import UnfinishedError
from accounts.models import User
from llmchat.admin.base import (
    ReadOnly,
    log,
    log_all,
    may_view_users,
    number,
)
from llmchat.admin.filters import (
    DayFilter,
    HasOutcomeFilter,
    ProviderFilter,
    UserFilter,
    chosen_user,
)
from llmchat.admin.listed import PAGE, ConversationList, jump
from llmchat.admin.look import ModelAdmin, action, display
from llmchat.admin.paging import NearerEnd
from llmchat.admin.running import may_stop, stop, too_late
from llmchat.answers import stopping
from llmchat.models import Conversation, Message
from llmchat.models.workers import with_texts
from llmchat.reports import exports, search
from llmchat.reports.moments import moment
from llmchat.reports.money import cost_in_words
from llmchat.reports.outcomes import LABELS, ended, outcome_of

# The most that one page can ask about: it names each, and forms have a limit of fields.
MAX_SELECTED = 5_000


@admin.register(Conversation)
class ConversationAdmin(ReadOnly, ModelAdmin):
    """Conversations, the latest first."""

    list_display = [
        "named",
        "user",
        "provider",
        "model",
        "outcome",
        "turns",
        "tokens",
        "dollars",
        "last_activity",
    ]
    list_display_links = ["named"]
    list_filter = [
        ProviderFilter,
        ("state", ChoicesDropdownFilter),
        HasOutcomeFilter,
        ("user", UserFilter),
        ("updated_at", DayFilter),
    ]
    list_filter_submit = True
    list_fullwidth = True
    list_per_page = 30
    paginator = NearerEnd
    list_before_template = "admin/llmchat/conversation/searched.html"
    list_select_related = ["user"]
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    search_fields = ["title"]
    search_help_text = _("Search messages, usernames and ids")
    change_form_template = "admin/llmchat/conversation/change_form.html"
    fields = ()  # the template shows the conversation
    actions = ["export_json", "export_csv", "delete_selected"]

    @admin.display(description=_("title"), ordering="title")
    def named(self, conversation: Conversation) -> str:
        """Show the title, or the id if there is none."""
        return str(conversation)

    @display(description=_("latest answer"), label=LABELS, ordering="state")
    def outcome(self, conversation: Any) -> str | None:
        """Show how the latest answer ended, as a colored label."""
        if not conversation.state:
            return None
        return str(outcome_of(conversation.state, conversation.last_reason).label)

    @admin.display(description=_("match"))
    def found(self, conversation: Any) -> str:
        """Show the text around the words searched for, with a link to its message."""
        if (hit := conversation.hit) is None:
            return "–"
        url = jump(conversation.pk, hit.message_id, hit.position)
        return format_html('<a class="llm-found" href="{}">{}</a>', url, hit.html)

    @admin.display(
        description=_("tokens"), ordering=F("input_tokens") + F("output_tokens")
    )
    def tokens(self, conversation: Conversation) -> str:
        """Show input and output tokens."""
        return f"{conversation.input_tokens:,} → {conversation.output_tokens:,}"

    @admin.display(description=_("cost"), ordering="cost")
    def dollars(self, conversation: Any) -> str:
        """Show what the answers cost."""
        return cost_in_words(conversation.shown_cost, conversation)

    @admin.display(description=_("turns"), ordering="turn_count")
    def turns(self, conversation: Conversation) -> int:
        """Show the number of answers."""
        return conversation.turn_count

    @admin.display(description=_("last activity"), ordering="updated_at")
    def last_activity(self, conversation: Conversation) -> str:
        """Show the time of the last message."""
        return moment(conversation.updated_at)

    # --- Finding and reading -----------------------------------------------------

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search the messages."""
        if not search_term.strip():
            return queryset, False
        found = search.find(search_term, user_id=chosen_user(request))
        request.llmchat_found = found  # type: ignore[attr-defined]
        return search.matching(queryset, search_term, found=found), False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Return the class that reads a page of the list."""
        return ConversationList

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Add a column with the matches to the results of a search."""
        columns = list(super().get_list_display(request))
        if request.GET.get("q", "").strip():
            columns.insert(1, "found")
        return columns

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the conversation as a chat, or stop its stream."""
        if request.method == "POST" and "_stop" in request.POST:
            return self._stop(request, object_id)
        response: HttpResponse = super().change_view(
            request, object_id, form_url, (extra_context or {}) | {"chat_page": PAGE}
        )
        return response

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add a page of messages to the context."""
        conversation: Conversation = context["original"]
        last = max(0, conversation.message_count - 1) // PAGE
        part = min(number(request.GET.get("part", "")) or 0, last)
        rows = conversation.messages.filter(
            position__gte=part * PAGE, position__lt=(part + 1) * PAGE
        )
        context |= {
            "chat_messages": with_texts(list(rows.order_by("position"))),
            "chat_parts": range(last + 1),
            "chat_part": part,
            **self._cost(conversation),
            "may_stop": may_stop(request),
            "may_view_users": may_view_users(request),
            "title": str(conversation),
            "subtitle": None,
        }
        response: HttpResponse = super().render_change_form(
            request, context, *args, **kwargs
        )
        return response

    def _cost(self, conversation: Conversation) -> dict[str, Any]:
        """Return what the answers cost, and how many have no known cost."""
        answers = ended(conversation.messages.all()).order_by()
        unpriced = answers.filter(cost=None).count()
        is_known = not unpriced or answers.filter(cost__isnull=False).exists()
        cost = conversation.cost if is_known else None
        return {
            "cost": cost_in_words(cost, conversation),
            "unpriced": unpriced if is_known else 0,
        }

    def _stop(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if not may_stop(request):
            raise PermissionDenied
        rows = Message.objects.filter(conversation=search.as_id(object_id))
        if stop(request, rows):
            self.message_user(request, _("Stopped."), level=messages.SUCCESS)
        else:
            self.message_user(request, too_late(1), level=messages.WARNING)
        return HttpResponseRedirect(request.get_full_path())

    # --- Exporting ---------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """Add the exports."""
        view = self.admin_site.admin_view
        return [
            path(
                "<uuid:conversation_id>/export/<str:format_name>/",
                view(self.export_one),
                name="llmchat_conversation_export",
            ),
            path(
                "of-user/<int:user_id>/export/<str:format_name>/",
                view(self.export_user),
                name="llmchat_user_export",
            ),
            *super().get_urls(),
        ]

    @action(description=_("Export as JSON"), permissions=["view"])
    def export_json(
        self, request: HttpRequest, queryset: QuerySet[Conversation]
    ) -> HttpResponseBase:
        """Download the selection."""
        return self._export(request, queryset, "json")

    @action(description=_("Export as CSV"), permissions=["view"])
    def export_csv(
        self, request: HttpRequest, queryset: QuerySet[Conversation]
    ) -> HttpResponseBase:
        """Download the selection for a spreadsheet."""
        return self._export(request, queryset, "csv")

    def export_one(
        self, request: HttpRequest, conversation_id: UUID, format_name: str
    ) -> HttpResponseBase:
        """Download one conversation."""
        rows = self.get_queryset(request).filter(pk=conversation_id)
        get_object_or_404(rows)
        return self._export(request, rows, format_name)

    def export_user(
        self, request: HttpRequest, user_id: int, format_name: str
    ) -> HttpResponseBase:
        """Download all conversations of one user.

        The user's e-mail address and names are for operators who may view users.
        """
        user = get_object_or_404(User, pk=user_id)
        rows = self.get_queryset(request).filter(user=user)
        return self._export(request, rows, format_name, user)

    def _export(
        self,
        request: HttpRequest,
        queryset: QuerySet[Conversation],
        format_name: str,
        user: User | None = None,
    ) -> HttpResponseBase:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if format_name not in exports.CONTENT_TYPES:
            return HttpResponse("No such format", status=404)
        said = f"Exported as {format_name}: {_counted(queryset.count())}."
        name, account = "conversations", None
        note: exports.Note | None = partial(_note, request, said)
        if user is not None:
            log(request, user, said)
            personal, note = may_view_users(request), None
            name = f"user-{user.pk}"
            account = exports.account_of(user, personal=personal)
        return StreamingHttpResponse(
            exports.export(queryset, format_name, account, note),
            content_type=exports.CONTENT_TYPES[format_name],
            headers={
                "Content-Disposition": f'attachment; filename="{name}.{format_name}"'
            },
        )

    # --- Deleting ----------------------------------------------------------------

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Name the conversations and count their messages without reading them."""
        return summary(objs, self.model, counted=not request.POST.get("post"))

    def delete_model(self, request: HttpRequest, obj: Conversation) -> None:
        """Stop the conversation's stream, then delete it."""
        stopping.delete(Conversation.objects.filter(pk=obj.pk))

    @action(
        description=_("Delete selected %(verbose_name_plural)s"),
        permissions=["delete"],
    )
    def delete_selected(
        self, request: HttpRequest, queryset: QuerySet[Conversation]
    ) -> HttpResponseBase | None:
        """Stop the streams of a selection, then delete it in small parts."""
        if not request.POST.get("post"):
            return self._ask(request, queryset)
        note = partial(self._note_deleted, request)
        done, left = stopping.delete(queryset, note=note)
        if left:
            why = UnfinishedError(done, left).text
            self.message_user(request, why, messages.WARNING)
            asked: Any = request.POST.copy()
            del asked["post"]
            request.POST = asked
            return self._ask(request, queryset)
        self.message_user(request, f"Deleted {_counted(done)}.", messages.SUCCESS)
        return None

    def _ask(
        self, request: HttpRequest, rows: QuerySet[Conversation]
    ) -> HttpResponseBase | None:
        """Ask whether to delete a selection, or as much of it as one page can hold."""
        idents = rows.order_by("pk").values_list("pk", flat=True)
        selected = list(idents[: MAX_SELECTED + 1])
        if len(selected) > MAX_SELECTED:
            said = (
                f"Only the first {MAX_SELECTED:,} will be deleted. Select the others"
                " again afterwards."
            )
            self.message_user(request, said, messages.WARNING)
            rows = Conversation.objects.filter(pk__in=selected[:MAX_SELECTED])
        return delete_selected(self, request, rows)

    def _note_deleted(self, request: HttpRequest, idents: list[UUID]) -> None:
        self.log_deletions(request, Conversation.objects.filter(pk__in=idents))


def _counted(count: int) -> str:
    return f"{count:,} conversation{pluralize(count)}"


def _note(request: HttpRequest, said: str, rows: Sequence[Conversation]) -> None:
    """Note in the history that conversations are exported, without their titles."""
    named = ((row.pk, f"Conversation {row.pk}") for row in rows)
    log_all(request, Conversation, named, said)
