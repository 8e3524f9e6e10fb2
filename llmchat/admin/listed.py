"""What the list of conversations shows besides its rows, read a page at a time."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import F
from django.http import HttpRequest
from django.urls import reverse

from llmchat.admin.paging import PageList
from llmchat.models import Conversation, Message
from llmchat.reports.excerpts import Excerpt, excerpts
from llmchat.reports.known_costs import known_costs
from llmchat.reports.outcomes import ended

# How many messages each part of a conversation's page shows.
PAGE = 100


def jump(conversation_id: UUID, message_id: UUID, position: int) -> str:
    """Return the address of a message on its conversation's page."""
    url = reverse("admin:llmchat_conversation_change", args=[conversation_id])
    return f"{url}?part={position // PAGE}#message-{message_id}"


class ConversationList(PageList):
    """A page of conversations: how their last answers ended, and what was found."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the page, and what else it shows with one query for each."""
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        self.result_list = rows
        reasons = _last_reasons(rows)
        costs = known_costs(rows)
        hits = _hits(request, rows)
        for row in rows:
            row.last_reason = reasons.get(row.pk, "")
            row.shown_cost = costs[row.pk]
            row.hit = hits.get(row.pk)


def _last_reasons(rows: list[Conversation]) -> dict[UUID, str]:
    """Return the finish reasons of the conversations' last answers, if complete."""
    complete = [row.pk for row in rows if row.state == Message.State.COMPLETE]
    if not complete:
        return {}
    last = F("conversation__message_count") - 1
    found = Message.objects.filter(conversation__in=complete, position=last)
    answers = ended(found).order_by()
    return dict(answers.values_list("conversation_id", "finish_reason"))


def _hits(request: HttpRequest, rows: list[Conversation]) -> dict[UUID, Excerpt]:
    found = getattr(request, "llmchat_found", None)
    if found is None:
        return {}
    hits = {row.pk: found.hits[row.pk] for row in rows if row.pk in found.hits}
    said = excerpts(hits.values(), found.text)
    return {pk: said[hit] for pk, hit in hits.items() if hit in said}
