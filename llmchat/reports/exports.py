"""Conversations as JSON and CSV, a piece at a time.

A piece is made by a few short queries and handed to the client before the next is
made, so that an export of everything needs neither memory nor an open transaction.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncGenerator, Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import QuerySet
from django.forms.models import model_to_dict

from llmchat.database import in_database
from llmchat.models import Conversation, Message

_CONVERSATIONS = 20
_MESSAGES = 200
_CHUNK = 64 * 1024
# A spreadsheet takes what begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_CONVERSATION_FIELDS = (
    "id",
    "title",
    "provider",
    "model",
    "state",
    "turn_count",
    "input_tokens",
    "output_tokens",
    "cost",
    "created_at",
    "updated_at",
)
_MESSAGE_FIELDS = (
    "id",
    "position",
    "role",
    "content",
    "state",
    "session_id",
    "provider",
    "model",
    "input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "usage_source",
    "cost",
    "finish_reason",
    "error_code",
    "created_at",
    "first_token_at",
    "finished_at",
)
_USER_FIELDS = ("id", "username", "email", "first_name", "last_name")
CONTENT_TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
}


async def export(
    conversations: QuerySet[Conversation], format_name: str, user: Any = None
) -> AsyncGenerator[bytes, None]:
    """Yield the export piece by piece; `user` puts an account at its head (JSON)."""
    pieces = (
        _csv_pieces(conversations)
        if format_name == "csv"
        else _json_pieces(conversations, user)
    )
    chunks = _gathered(pieces)
    while (chunk := await in_database(next, chunks, None)) is not None:
        yield chunk.encode()


def _gathered(pieces: Iterable[str]) -> Iterator[str]:
    """Join pieces to chunks that are worth a way to the client."""
    chunk: list[str] = []
    size = 0
    for piece in pieces:
        chunk.append(piece)
        size += len(piece)
        if size >= _CHUNK:
            yield "".join(chunk)
            chunk, size = [], 0
    yield "".join(chunk)


def _json_pieces(conversations: QuerySet[Conversation], user: Any) -> Iterator[str]:
    head = {} if user is None else {"user": _account(user)}
    yield _json(head)[:-1] + (", " if head else "") + '"conversations": ['
    for number, conversation in enumerate(_each(conversations)):
        row = {name: getattr(conversation, name) for name in _CONVERSATION_FIELDS}
        row["user"] = conversation.user.get_username()
        yield ("," if number else "") + "\n" + _json(row)[:-1] + ', "messages": ['
        for index, message in enumerate(_messages(conversation)):
            yield ("," if index else "") + "\n  " + _json(message)
        yield "]}"
    yield "\n]}\n"


def _csv_pieces(conversations: QuerySet[Conversation]) -> Iterator[str]:
    yield "\ufeff" + _csv(("conversation", "title", "user", *_MESSAGE_FIELDS))
    for conversation in _each(conversations):
        head = (conversation.pk, conversation.title, conversation.user.get_username())
        for message in _messages(conversation):
            yield _csv((*head, *message.values()))


def _each(conversations: QuerySet[Conversation]) -> Iterator[Conversation]:
    """Go through the rows by their key: what is written meanwhile shifts nothing."""
    rows = conversations.select_related("user").order_by("pk")
    batch = list(rows[:_CONVERSATIONS])
    while batch:
        yield from batch
        batch = list(rows.filter(pk__gt=batch[-1].pk)[:_CONVERSATIONS])


def _messages(conversation: Conversation) -> Iterator[dict[str, Any]]:
    rows = Message.objects.filter(conversation=conversation).order_by("position")
    after = -1
    while batch := list(
        rows.filter(position__gt=after).values(*_MESSAGE_FIELDS)[:_MESSAGES]
    ):
        yield from batch
        after = batch[-1]["position"]


def _account(user: Any) -> dict[str, Any]:
    fields = model_to_dict(user, fields=_USER_FIELDS)
    return {"id": user.pk, **fields, "date_joined": user.date_joined}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=_text)


def _csv(cells: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow([_cell(cell) for cell in cells])
    return line.getvalue()


def _cell(value: object) -> str:
    text = "" if value is None else _text(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
