"""Stopping answers from outside their stream: by an operator, on any worker."""

from __future__ import annotations

from django.db.models import QuerySet

from llmchat import runtime, turns
from llmchat.models import Message


def stop(answers: QuerySet[Message]) -> int:
    """Have those of `answers` that are being written stopped; return how many.

    Streams of this process are cancelled at once. Other workers read the mark at
    their next checkpoint, within a second. Answers of dead ones are closed here.
    """
    turns.sweep()
    running = answers.filter(state=Message.State.STREAMING)
    idents = frozenset(running.values_list("pk", flat=True))
    Message.objects.filter(pk__in=idents).update(stop_requested=True)
    runtime.cancel_soon(idents)
    return len(idents)
