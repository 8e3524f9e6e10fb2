"""Conversations as JSON and CSV, a piece at a time.

Each piece takes a few short queries and is sent to the client before the next one is
made, so that an export of everything needs neither memory nor an open transaction.
Messages are read for twenty conversations at a time, in as few queries as their number
allows. The export is noted before that, in a thread that may wait for other writers:
the threads for reads must not.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, TypeAlias

from django.db.models import Q, QuerySet

from llmchat.database import in_database, read_database
from llmchat.models import Conversation, Message
from llmchat.models.workers import texts_so_far
from llmchat.reports.known_costs import known_cost

Each: TypeAlias = Iterator[tuple[Conversation, Iterator[dict[str, Any]]]]
Note: TypeAlias = Callable[[Sequence[Conversation]], None]

_CONVERSATIONS = 20
_MESSAGES = 200
_CHUNK = 64 * 1024
# A spreadsheet treats a cell that begins with one of these as a formula.
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
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_long_tokens",
    "usage_source",
    "cost",
    "finish_reason",
    "error_code",
    "created_at",
    "first_token_at",
    "finished_at",
    "extra",
    "replaced_by",
    "answered_by",
    "fingerprint",
)
_ACCOUNT_FIELDS = ("id", "username")
_PERSONAL_FIELDS = ("email", "first_name", "last_name", "date_joined")
CONTENT_TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a format writes around, for and between the batches of an export."""

    head: str
    pieces: Callable[[Each], Iterator[str]]
    between: str = ""
    foot: str = ""


async def export(
    conversations: QuerySet[Conversation],
    format_name: str,
    account: dict[str, Any] | None = None,
    note: Note | None = None,
) -> AsyncGenerator[bytes, None]:
    """Yield the export piece by piece; `account` is added to the head of JSON.

    `note` is called with each batch of conversations, before their messages are read.
    """
    shape = _CSV if format_name == "csv" else _json_shape(account)
    yield shape.head.encode()
    batches, between = _batches(conversations), ""
    while (batch := await read_database(next, batches, None)) is not None:
        if note is not None:
            await in_database(note, batch)
        async for chunk in sent(chain([between], shape.pieces(_each(batch)))):
            yield chunk
        between = shape.between
    yield shape.foot.encode()


async def sent(pieces: Iterable[str]) -> AsyncGenerator[bytes, None]:
    """Yield pieces joined into chunks; `pieces` may query the database."""
    chunks = _gathered(pieces)
    while (chunk := await read_database(next, chunks, None)) is not None:
        yield chunk.encode()


def account_of(user: Any, *, personal: bool) -> dict[str, Any]:
    """Return an account for an export's head, with e-mail and names if `personal`."""
    fields = (*_ACCOUNT_FIELDS, *(_PERSONAL_FIELDS if personal else ()))
    return {name: getattr(user, name) for name in fields}


def _gathered(pieces: Iterable[str]) -> Iterator[str]:
    """Join pieces into chunks of a useful size."""
    chunk: list[str] = []
    size = 0
    for piece in pieces:
        chunk.append(piece)
        size += len(piece)
        if size >= _CHUNK:
            yield "".join(chunk)
            chunk, size = [], 0
    yield "".join(chunk)


def _json_shape(account: dict[str, Any] | None) -> _Shape:
    head = {} if account is None else {"user": account}
    start = _json(head)[:-1] + (", " if head else "") + '"conversations": ['
    return _Shape(start, _json_pieces, between=",", foot="\n]}\n")


def _json_pieces(each: Each) -> Iterator[str]:
    for number, (conversation, messages) in enumerate(each):
        row = {name: getattr(conversation, name) for name in _CONVERSATION_FIELDS}
        row["cost"] = known_cost(conversation)
        row["user"] = conversation.user.get_username()
        yield ("," if number else "") + "\n" + _json(row)[:-1] + ', "messages": ['
        for index, message in enumerate(messages):
            yield ("," if index else "") + "\n  " + _json(message)
        yield "]}"


def _csv_pieces(each: Each) -> Iterator[str]:
    for conversation, messages in each:
        head = (conversation.pk, conversation.title, conversation.user.get_username())
        for message in messages:
            yield csv_line((*head, *message.values()))


def _each(batch: Sequence[Conversation]) -> Each:
    """Yield each conversation with its messages, which must be read before the next."""
    groups = groupby(_messages(batch), key=itemgetter("conversation_id"))
    ident, rows = next(groups, (None, iter(())))
    for conversation in batch:
        if conversation.pk != ident:
            yield conversation, iter(())
            continue
        yield conversation, map(_exported, rows)
        ident, rows = next(groups, (None, iter(())))


def _exported(row: dict[str, Any]) -> dict[str, Any]:
    """Return a message's fields; a running answer has its text so far."""
    fields = {name: row[name] for name in _MESSAGE_FIELDS}
    if row["state"] == Message.State.STREAMING:
        fields["content"] = texts_so_far([row["id"]]).get(row["id"], row["content"])
    return fields


def _batches(conversations: QuerySet[Conversation]) -> Iterator[list[Conversation]]:
    """Page through the rows by key, so that concurrent writes shift nothing."""
    rows = conversations.select_related("user").order_by("pk")
    batch = list(rows[:_CONVERSATIONS])
    while batch:
        yield batch
        batch = list(rows.filter(pk__gt=batch[-1].pk)[:_CONVERSATIONS])


def _messages(conversations: Sequence[Conversation]) -> Iterator[dict[str, Any]]:
    """Yield the messages of conversations, in the order of `_batches`."""
    fields = ("conversation_id", *_MESSAGE_FIELDS)
    rows = Message.objects.filter(conversation__in=[c.pk for c in conversations])
    rows = rows.order_by("conversation_id", "position")
    batch = list(rows.values(*fields)[:_MESSAGES])
    while batch:
        yield from batch
        if len(batch) < _MESSAGES:
            return
        last, position = batch[-1]["conversation_id"], batch[-1]["position"]
        later = Q(conversation=last, position__gt=position) | Q(conversation__gt=last)
        batch = list(rows.filter(later).values(*fields)[:_MESSAGES])


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=_text)


def csv_line(cells: Iterable[object]) -> str:
    """Return a line of CSV, with cells escaped that look like formulas."""
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


_CSV = _Shape(
    "\ufeff" + csv_line(("conversation", "title", "user", *_MESSAGE_FIELDS)),
    _csv_pieces,
)
