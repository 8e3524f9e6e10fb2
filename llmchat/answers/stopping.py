"""Stopping answers from outside their stream, and deleting what they belong to.

An answer's end locks its conversation and then writes its message. A deletion that
took them the other way round could lock both of them up for ever, so it takes the
same way: users, conversations, running messages by their key, everything else.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from llmchat.answers import runtime
from llmchat.books.sweep import sweep
from llmchat.models import Conversation, Message


def stop(answers: QuerySet[Message]) -> int:
    """Have those of `answers` that are being written stopped; return how many.

    Streams of this process are cancelled at once. Other workers read the mark at
    their next checkpoint, within a second. Answers of dead ones are closed here.
    """
    sweep()
    running = answers.filter(state=Message.State.STREAMING)
    idents = frozenset(running.values_list("pk", flat=True))
    with transaction.atomic():
        # In the order in which a checkpoint locks them.
        rows = Message.objects.filter(pk__in=idents)
        list(rows.order_by("pk").select_for_update().values_list("pk"))
        rows.update(stop_requested=True)
    runtime.cancel_soon(idents)
    return len(idents)


def delete(conversations: QuerySet[Conversation]) -> None:
    """Delete conversations; what runs in them stops and finds no row to write to."""
    stop(Message.objects.filter(conversation__in=conversations))
    with transaction.atomic():
        Conversation.objects.filter(pk__in=_locked(conversations)).delete()


def on_user_delete(sender: Any, instance: Any, **kwargs: Any) -> None:
    """Called by Django in the transaction that deletes a user, before any row goes."""
    locked = _locked(Conversation.objects.filter(user=instance))
    running = Message.objects.filter(
        conversation__in=locked, state=Message.State.STREAMING
    )
    runtime.cancel_soon(frozenset(running.values_list("pk", flat=True)))


def _locked(conversations: QuerySet[Conversation]) -> list[UUID]:
    rows = conversations.order_by("pk").select_for_update(of=("self",))
    idents = list(rows.values_list("pk", flat=True))
    running = Message.objects.filter(
        conversation__in=idents, state=Message.State.STREAMING
    )
    list(running.order_by("pk").select_for_update().values_list("pk"))
    return idents
