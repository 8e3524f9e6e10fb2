"""Where the figures of the dashboard lead: to the list of what they count."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from urllib.parse import urlencode

from django.urls import reverse

# The value of the filter by outcome that every answer which has ended has.
ENDED = "ended"


def messages(days: Sequence[date], outcome: str = ENDED, **filters: str) -> str:
    """Return the address of the list of the answers of these days."""
    query = {
        "outcome": outcome,
        "created_at_from": days[0].isoformat(),
        "created_at_to": days[-1].isoformat(),
        **filters,
    }
    return f"{reverse('admin:llmchat_message_changelist')}?{urlencode(query)}"


def conversation(ident: str) -> str:
    """Return the address of a conversation's page."""
    return reverse("admin:llmchat_conversation_change", args=[ident])
