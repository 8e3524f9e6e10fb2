"""Stopping answers from outside their stream, and deleting what they belong to.

All transactions lock in one order, so that no two of them wait for each other: users,
conversations by their key, messages by theirs, budgets, what each user has used of
them, the sums of days. A deletion, which locks many rows, keeps to this order just as
an answer's end does. A stop locks one message at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Q, QuerySet

from llmchat import database
from llmchat.access import budgets
from llmchat.answers import runtime
from llmchat.books import past
from llmchat.books.sweep import sweep
from llmchat.models import Conversation, Message

# One transaction deletes at most this many conversations. It takes no further ones once
# those that it has contain this many messages.
MOST_CONVERSATIONS = 500
MOST_MESSAGES = 5_000
# For how long a request begins further transactions, and how long each of them may
# take. With everything else that the request does, it responds before the page's
# timeout (30 s).
BEGINS_S = 10.0
_BATCH_S = 10.0

# Called with the ids of conversations in the transaction that deletes them, while the
# rows still exist.
Note: TypeAlias = Callable[[list[UUID]], object]


class DeletionCounts(NamedTuple):
    """How many conversations were deleted, and how many were left for lack of time."""

    done: int
    left: int


def stop(answers: QuerySet[Message]) -> list[UUID]:
    """Stop those of `answers` that are being written; return their ids.

    Streams of this process are cancelled immediately. A server also notifies the other
    workers; a worker that gets no notice reads the mark at its next checkpoint, within
    a second. Answers of dead workers are closed here.
    """
    sweep()
    running = answers.filter(state=Message.State.STREAMING)
    idents = list(running.order_by().values_list("pk", flat=True))
    marked = [ident for ident in idents if _mark(ident)]
    runtime.cancel_soon(marked)
    return marked


def _mark(ident: UUID) -> bool:
    """Mark one answer; return whether it was still being written.

    Each answer takes a statement of its own, which locks only that row: answers that
    have ended by now may be about to be deleted, in another order.
    """
    running = Message.objects.filter(pk=ident, state=Message.State.STREAMING)
    return bool(running.update(stop_requested=True))


def delete(
    conversations: QuerySet[Conversation],
    *,
    note: Note | None = None,
) -> DeletionCounts:
    """Delete conversations; answers running in them stop, and have no row to write.

    Each batch is deleted in a transaction of its own. When a request's time is over, it
    begins no further batch; what it has deleted stays deleted, and the next request
    continues.
    """
    # A query with DISTINCT, such as a list in the admin may have, cannot lock rows.
    rows = Conversation.objects.filter(pk__in=conversations.order_by().values("pk"))
    sizes = list(rows.order_by("pk").values_list("pk", "message_count"))
    is_request = database.deadline() is not None
    over_at, done, left = time.monotonic() + BEGINS_S, 0, len(sizes)
    # Everything else in the request still has its full time.
    with database.paused():
        for batch in _batches(sizes):
            if is_request and left < len(sizes) and time.monotonic() >= over_at:
                break
            with _batch_time(is_request), transaction.atomic():
                done += _delete(batch, note)
            left -= len(batch)
    return DeletionCounts(done, left)


def _delete(batch: Sequence[UUID], note: Note | None) -> int:
    idents = _locked(Conversation.objects.filter(pk__in=batch))
    if idents:  # otherwise another transaction deleted them first
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
    """Return a deadline for one transaction of a request; a command has none."""
    return database.until(time.monotonic() + _BATCH_S) if is_request else nullcontext()


def on_users_emptying(
    sender: Any, user_ids: list[int], **kwargs: Any
) -> DeletionCounts:
    """Delete the conversations of users who are about to be deleted themselves.

    What is left then, or is added later, is deleted together with the users.
    """
    return delete(Conversation.objects.filter(user__in=user_ids))


def on_user_delete(sender: Any, instance: Any, **kwargs: Any) -> None:
    """Called by Django in the transaction that deletes a user, before any row goes.

    In the shell, nobody has locked the user yet.
    """
    users = get_user_model()._default_manager.filter(pk=instance.pk)
    list(users.select_for_update().values_list("pk"))
    on_users_delete(sender, [instance.pk])


def on_users_delete(sender: Any, user_ids: list[int], **kwargs: Any) -> None:
    """Lock what an answer's end locks, in its order, before Django locks other rows.

    Then delete the messages, but keep the totals of what they used.
    """
    _locked(Conversation.objects.filter(user__in=user_ids))
    budgets.lock_of(user_ids)
    past.move(Q(user__in=user_ids))


def _locked(conversations: QuerySet[Conversation]) -> list[UUID]:
    """Lock conversations and their running answers, and cancel these on all workers.

    A worker that gets no notice finds the rows gone at its next checkpoint.
    """
    rows = conversations.order_by("pk").select_for_update(of=("self",))
    idents = list(rows.values_list("pk", flat=True))
    running = Message.objects.filter(
        conversation__in=idents, state=Message.State.STREAMING
    )
    locked = running.order_by("pk").select_for_update().values_list("pk", flat=True)
    runtime.cancel_soon(frozenset(locked))
    return idents
