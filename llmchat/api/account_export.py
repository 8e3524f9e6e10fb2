"""Everything that is stored about a user as one file, sent a piece at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from accounts.errors import TokenError
from accounts.models import User
from accounts.verified import TOKEN_ONLY
from llmchat.access.ratelimit import count_message
from llmchat.api.async_view import AsyncAPIView, verified_of
from llmchat.api.conversation_fields import in_full, in_list
from llmchat.api.key_fields import shown_keys
from llmchat.api.usage_views import budget_fields, day_fields
from llmchat.database import read_database
from llmchat.models import Message
from llmchat.models.budgets import today
from llmchat.reports import own
from llmchat.reports.exports import sent
from llmchat.reports.known_costs import known_cost
from llmchat.reports.own_usage import budgets_of, use_of


class ExportView(AsyncAPIView):
    """`GET /llm/export`: the account, its use, its budgets, its conversations."""

    scopes = {"GET": TOKEN_ONLY}

    async def get(self, request: Request) -> HttpResponseBase:
        """Download it as JSON."""
        sender = verified_of(request)
        await count_message(sender)
        head = await read_database(_head, sender.user_id)
        return StreamingHttpResponse(
            sent(_pieces(sender.user_id, head)),
            content_type="application/json",
            headers={
                "Content-Disposition": 'attachment; filename="llmchat-export.json"',
                "Cache-Control": "no-store",
            },
        )


def _head(user_id: int) -> dict[str, Any]:
    """Return everything except the conversations.

    Raises: TokenError, if the user has just been deleted.
    """
    user = User.objects.filter(pk=user_id).first()
    if user is None:
        raise TokenError("token_invalid")
    return {
        "user": _account(user),
        "usage": [day_fields(row) for row in use_of(user_id, date.min, today())],
        "apiKeys": shown_keys(user_id),
        "budgets": [budget_fields(row) for row in budgets_of(user_id)],
    }


def _pieces(user_id: int, head: dict[str, Any]) -> Iterator[str]:
    yield _dumped(head)[:-1] + ', "conversations": ['
    for number, row in enumerate(own.all_conversations_of(user_id)):
        listed = _dumped(in_list(row, known_cost(row)))
        yield ("," if number else "") + f"\n{listed[:-1]}, "
        yield '"messages": ['
        for index, message in enumerate(own.all_messages_of(row)):
            yield ("," if index else "") + f"\n  {_dumped(_message(message))}"
        yield "]}"
    yield "\n]}\n"


def _message(row: Message) -> dict[str, Any]:
    return in_full(row) | {"replaced": row.is_replaced}


def _account(user: User) -> dict[str, Any]:
    seen = user.last_login
    return {
        "id": user.pk,
        "username": user.username,
        "email": user.email,
        "firstName": user.first_name,
        "lastName": user.last_name,
        "isStaff": user.is_staff,
        "joinedAt": user.date_joined.isoformat(),
        "lastLoginAt": None if seen is None else seen.isoformat(),
        "groups": list(user.groups.order_by("name").values_list("name", flat=True)),
    }


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
