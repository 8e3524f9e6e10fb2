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


def end_turn(begun: Begun, outcome: Outcome, again: bool = False) -> Outcome:
    """Store what became of an answer, at least its text; return what is stored.

    `again`: an earlier attempt has failed, whose COMMIT may have come through. It is
    settled once, whatever happens; a second end changes the first one's word alone.

    Raises: OperationalError, InterfaceError: the database does not answer.
    """
    try:
        finish_turn(begun, outcome, again=again)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        # Whatever it is that cannot be stored, the row does not stay `streaming`.
        logger.exception("answer %s cannot be stored as it is", begun.message_id)
        outcome = _reduced(begun, outcome)
        finish_turn(begun, outcome, again=again)
    return outcome


def finish_turn(begun: Begun, outcome: Outcome, *, again: bool = False) -> bool:
    """Store what became of an answer; return whether this was its end."""
    usage, cost = _booked(begun, outcome)
    _note_keys(begun, outcome)
    with transaction.atomic():
        # No key of it changes: whoever refers to it need not wait.
        conversations = Conversation.objects.select_for_update(no_key=True)
        conversation = conversations.filter(pk=begun.conversation_id).first()
        if conversation is None:
            # Deleted; what was used is used.
            if not again or budgets.has_reserved(begun.message_id):
                budgets.settle(begun.budgets, begun.message_id, usage, cost)
            return False
        if not _write_end(begun, outcome, usage, cost):
            if again and _amend(begun, outcome):
                totals.note_state(conversation)
                conversation.save(update_fields=totals.STATE_FIELDS)
            return False
        budgets.settle(begun.budgets, begun.message_id, usage, cost)
        _note_end(conversation, begun, outcome)
        totals.note_end(conversation, usage, cost)
        conversation.save(update_fields=["thread_hash", "updated_at", *totals.FIELDS])
    return True


def _note_end(conversation: Conversation, begun: Begun, outcome: Outcome) -> None:
    if conversation.thread_hash != begun.thread_hash:
        # Another turn went on with it meanwhile.
        conversation.thread_hash = stored_hash(conversation.pk)
    elif outcome.text:
        conversation.thread_hash = extended_hash(
            begun.thread_hash, Message.Role.ASSISTANT, storable(outcome.text)
        )
    conversation.updated_at = timezone.now()


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
        first_token_at=outcome.first_token_at,
        refused=outcome.refused,
        fell_back=outcome.fell_back,
        before=outcome.before,
    )


def _write_end(
    begun: Begun, outcome: Outcome, usage: Usage, cost: Decimal | None
) -> int:
    route = _route(begun, outcome)
    # A row that another worker took for dead is this one's all the same. One that has
    # a source of its usage is settled: an earlier attempt was committed after all.
    rows = Message.objects.filter(
        pk=begun.message_id,
        state__in=(_State.STREAMING, _State.INTERRUPTED),
        usage_source="",
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


def _amend(begun: Begun, outcome: Outcome) -> int:
    """Let a stored end say what its client was told meanwhile."""
    rows = Message.objects.filter(pk=begun.message_id).exclude(state=outcome.state)
    return rows.update(
        state=outcome.state,
        finish_reason=outcome.finish_reason,
        error_code=outcome.error_code,
    )
