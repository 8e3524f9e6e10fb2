"""Stopping answers from outside their stream, and deleting what they belong to.

Everybody locks in one order, so that no two transactions wait for each other: users,
conversations by their key, messages by theirs, budgets. A deletion, which takes many
of them, holds to it as an answer's end does. A stop takes one message at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet

from llmchat import database
from llmchat.access import budgets
from llmchat.answers import runtime
from llmchat.books import past
from llmchat.books.sweep import sweep
from llmchat.models import Conversation, Message

# So many conversations go in one transaction, or fewer if they have so many messages.
MOST_CONVERSATIONS = 500
MOST_MESSAGES = 5_000
# How long a request goes on beginning with more, and how long one transaction may take.
# With what the request does besides, it answers before the page gives it up (30 s).
BEGINS_S = 10.0
_BATCH_S = 10.0

# Told of conversations, in the transaction that deletes them, while they are there.
Note: TypeAlias = Callable[[list[UUID]], object]


class Deleted(NamedTuple):
    """How many conversations are deleted, and how many the time was too short for."""

    done: int
    left: int


def stop(answers: QuerySet[Message]) -> list[UUID]:
    """Have those of `answers` that are being written stopped; return their ids.

    Streams of this process are cancelled at once. Other workers read the mark at
    their next checkpoint, within a second. Answers of dead ones are closed here.
    """
    sweep()
    running = answers.filter(state=Message.State.STREAMING)
    idents = list(running.order_by().values_list("pk", flat=True))
    marked = [ident for ident in idents if _mark(ident)]
    runtime.cancel_soon(marked)
    return marked


def _mark(ident: UUID) -> bool:
    """Mark one answer; return whether it was still being written.

    One statement each: what has ended meanwhile may be about to be deleted, in an order
    of its own.
    """
    running = Message.objects.filter(pk=ident, state=Message.State.STREAMING)
    return bool(running.update(stop_requested=True))


def delete(
    conversations: QuerySet[Conversation],
    *,
    note: Note | None = None,
) -> Deleted:
    """Delete conversations; what runs in them stops and finds no row to write to.

    A batch goes in a transaction of its own. A request begins with no more of them once
    its time is over: what it has deleted stays so, and the next one goes on.
    """
    # What is distinct, as a list of the admin may be, cannot be locked itself.
    rows = Conversation.objects.filter(pk__in=conversations.order_by().values("pk"))
    sizes = list(rows.order_by("pk").values_list("pk", "message_count"))
    is_request = database.deadline() is not None
    over_at, done, left = time.monotonic() + BEGINS_S, 0, len(sizes)
    # What the request does besides has as long as ever.
    with database.paused():
        for batch in _batches(sizes):
            if is_request and left < len(sizes) and time.monotonic() >= over_at:
                break
            with _batch_time(is_request), transaction.atomic():
                done += _delete(batch, note)
            left -= len(batch)
    return Deleted(done, left)


def _delete(batch: Sequence[UUID], note: Note | None) -> int:
    idents = _locked(Conversation.objects.filter(pk__in=batch))
    if idents:  # else somebody else has deleted them meanwhile
        if note is not None:
            note(idents)
        past.move(Q(conversation__in=idents))
        Conversation.objects.filter(pk__in=idents).delete()
    return len(idents)


def _batches(sizes: Sequence[tuple[UUID, int]]) -> Iterator[list[UUID]]:
    batch: list[UUID] = []
    messages = 0
    for ident, size in sizes:
        batch.append(ident)
        messages += size
        if len(batch) >= MOST_CONVERSATIONS or messages >= MOST_MESSAGES:
            yield batch
            batch, messages = [], 0
    if batch:
        yield batch


def _batch_time(is_request: bool) -> AbstractContextManager[None]:
    """Return what gives a transaction of a request its own time; a command has any."""
    return database.until(time.monotonic() + _BATCH_S) if is_request else nullcontext()


def on_users_emptying(sender: Any, user_ids: list[int], **kwargs: Any) -> Deleted:
    """Delete what belongs to users who are about to be deleted themselves.

    Whatever is left of it then, and comes meanwhile, goes along with them.
    """
    return delete(Conversation.objects.filter(user__in=user_ids))


def on_user_delete(sender: Any, instance: Any, **kwargs: Any) -> None:
    """Called by Django in the transaction that deletes a user, before any row goes."""
    on_users_delete(sender, [instance.pk])


def on_users_delete(sender: Any, user_ids: list[int], **kwargs: Any) -> None:
    """Lock what an answer's end locks, in its order, before Django begins elsewhere.

    Then the messages go, but not what they have used.
    """
    _locked(Conversation.objects.filter(user__in=user_ids))
    budgets.lock_of(user_ids)
    past.move(Q(user__in=user_ids))


def _locked(conversations: QuerySet[Conversation]) -> list[UUID]:
    """Lock conversations and what runs in them, and stop it in this process.

    Other workers find the rows gone at their next checkpoint.
    """
    rows = conversations.order_by("pk").select_for_update(of=("self",))
    idents = list(rows.values_list("pk", flat=True))
    running = Message.objects.filter(
        conversation__in=idents, state=Message.State.STREAMING
    )
    locked = running.order_by("pk").select_for_update().values_list("pk", flat=True)
    runtime.cancel_soon(frozenset(locked))
    return idents
