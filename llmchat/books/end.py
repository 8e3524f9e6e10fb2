"""The end of a turn: how an answer ended, what it has used, in one transaction.

A late write changes rows that are there and never makes one, so what was deleted
meanwhile stays deleted.
"""

from __future__ import annotations

import logging
from decimal import Decimal

from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from llmchat.access import budgets, catalogue, keys
from llmchat.books import totals
from llmchat.books.conversations import extended_hash, stored_hash
from llmchat.books.turn import Begun, Outcome, storable
from llmchat.models import Conversation, Message
from llmchat.providers.types import Usage

logger = logging.getLogger(__name__)

_State = Message.State


def end_turn(begun: Begun, outcome: Outcome) -> None:
    """Store how an answer ended, at least its text and what it has cost.

    Raises: OperationalError, InterfaceError: the database does not answer.
    """
    try:
        finish_turn(begun, outcome)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        # Whatever it is that cannot be stored, the row does not stay `streaming`.
        logger.exception("an end cannot be stored as it is")
        finish_turn(begun, _reduced(begun, outcome))


def finish_turn(begun: Begun, outcome: Outcome) -> bool:
    """Store how an answer ended; return whether its row was still there."""
    usage, cost = _booked(begun, outcome)
    _note_keys(begun, outcome)
    with transaction.atomic():
        conversation = (
            Conversation.objects.select_for_update()
            .filter(pk=begun.conversation_id)
            .first()
        )
        if conversation is None:
            # Deleted; what was used is used.
            budgets.settle(begun.budgets, begun.message_id, usage, cost)
            return False
        if not _write_end(begun, outcome, usage, cost):
            return False
        budgets.settle(begun.budgets, begun.message_id, usage, cost)
        if conversation.thread_hash != begun.thread_hash:
            # Another turn went on with it meanwhile.
            conversation.thread_hash = stored_hash(conversation.pk)
        elif outcome.text:
            conversation.thread_hash = extended_hash(
                begun.thread_hash, Message.Role.ASSISTANT, storable(outcome.text)
            )
        conversation.updated_at = timezone.now()
        totals.note_end(conversation, usage, cost)
        conversation.save(update_fields=["thread_hash", "updated_at", *totals.FIELDS])
    return True


def _route(begun: Begun, outcome: Outcome) -> catalogue.Route:
    """Return where the answer came from, or was last asked for."""
    fallback = begun.route.fallback
    return fallback if outcome.fell_back and fallback else begun.route


def _note_keys(begun: Begun, outcome: Outcome) -> None:
    route = _route(begun, outcome)
    if route is not begun.route:
        keys.note(begun.route.keys, outcome.refused, worked=False)
    worked = outcome.state == _State.COMPLETE or bool(outcome.text)
    keys.note(route.keys, outcome.refused, worked=worked)


def _booked(begun: Begun, outcome: Outcome) -> tuple[Usage, Decimal | None]:
    """Return what is booked for an answer, everywhere alike, and what it costs."""
    usage, cost = outcome.usage, _route(begun, outcome).cost(outcome.usage)
    if outcome.before is None:
        return usage, cost
    before = begun.route.cost(outcome.before)
    total = None if cost is None or before is None else cost + before
    return usage + outcome.before, total


def _reduced(begun: Begun, outcome: Outcome) -> Outcome:
    """Return an end without any word of the provider's own."""
    return Outcome(
        state=_State.ERROR,
        text=outcome.text,
        usage=outcome.usage,
        model=begun.model,
        finish_reason="error",
        error_code="internal_error",
        fell_back=outcome.fell_back,
        before=outcome.before,
    )


def _write_end(
    begun: Begun, outcome: Outcome, usage: Usage, cost: Decimal | None
) -> int:
    route = _route(begun, outcome)
    # A row that another worker took for dead is this one's all the same.
    rows = Message.objects.filter(
        pk=begun.message_id, state__in=(_State.STREAMING, _State.INTERRUPTED)
    )
    return rows.update(
        state=outcome.state,
        content=storable(outcome.text),
        provider=route.provider.name,
        model=outcome.model,
        finish_reason=outcome.finish_reason,
        error_code=outcome.error_code,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        usage_source=usage.source,
        cost=cost,
        attempts=outcome.attempts,
        first_token_at=outcome.first_token_at,
        finished_at=timezone.now(),
        lease_until=None,
    )
