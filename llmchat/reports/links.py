"""The links of the dashboard's figures: to the lists of what they count."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.urls import resolve, reverse

# The value of the outcome filter that includes every answer that has ended.
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


def for_user(user: Any, url: str) -> str:
    """Return the address of a list or a row, "" if this user may not view it."""
    if not url:
        return ""
    app, model, _ = (resolve(urlsplit(url).path).url_name or "").split("_")
    verbs = ("view", "change")  # in the admin, either one suffices
    may_view = any(user.has_perm(f"{app}.{verb}_{model}") for verb in verbs)
    return url if may_view else ""


def conversation(ident: str) -> str:
    """Return the address of a conversation's page."""
    return reverse("admin:llmchat_conversation_change", args=[ident])
