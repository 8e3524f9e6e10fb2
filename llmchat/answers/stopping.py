"""Stopping answers from outside their stream, and deleting what they belong to.

Everybody locks in one order, so that no two transactions wait for each other: users,
conversations by their key, messages by theirs, budgets. A deletion, which takes many
of them, holds to it as an answer's end does. A stop takes one message at a time.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet

from llmchat.access import budgets
from llmchat.answers import runtime
from llmchat.books import past
from llmchat.books.sweep import sweep
from llmchat.models import Conversation, Message


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


def delete(conversations: QuerySet[Conversation]) -> None:
    """Delete conversations; what runs in them stops and finds no row to write to."""
    # What is distinct, as a list of the admin may be, cannot be locked itself.
    rows = Conversation.objects.filter(pk__in=conversations.order_by().values("pk"))
    with transaction.atomic():
        idents = _locked(rows)
        past.move(Q(conversation__in=idents))
        Conversation.objects.filter(pk__in=idents).delete()


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
