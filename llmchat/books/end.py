"""Deciding the end of a turn: how its answer ended, and what it used.

A late end updates messages that exist and never inserts one, so that what was deleted
in the meantime stays deleted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import OperationalError
from django.utils import timezone

from llmchat.access import budgets, keys
from llmchat.books import past, pieces, totals
from llmchat.books.billing import Bill, bill
from llmchat.books.conversations import extended_hash, stored_hash
from llmchat.books.extra import extra_of_answer
from llmchat.books.facts import AnswerRow, Facts
from llmchat.books.sql import Columns
from llmchat.books.turn import Begun, End, Outcome, detail, storable
from llmchat.database import is_contended
from llmchat.models import Conversation, Message
from llmchat.providers.types import Usage

_State = Message.State
_ENDED = Columns(
    Message,
    [
        "state",
        "content",
        "extra",
        "provider",
        "model",
        "finish_reason",
        "error_code",
        "error_detail",
        "input_tokens",
        "output_tokens",
        "reasoning_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "cache_write_long_tokens",
        "usage_source",
        "cost",
        "price",
        "attempts",
        "answered_by",
        "fingerprint",
        "first_token_at",
        "finished_at",
        "id",
    ],
)
_AMENDED = Columns(
    Message, ["state", "extra", "finish_reason", "error_code", "error_detail", "id"]
)


@dataclass(slots=True)
class Ended:
    """The rows that ends change.

    `rehash` and `restate` are conversations whose hash or state must be read again.
    `past` is the usage of answers whose rows are deleted.
    """

    answers: list[dict[str, Any]] = field(default_factory=list)
    amended: list[dict[str, Any]] = field(default_factory=list)
    rehash: set[UUID] = field(default_factory=set)
    restate: set[UUID] = field(default_factory=set)
    past: list[dict[str, Any]] = field(default_factory=list)


def decide(facts: Facts, ended: Ended, end: End) -> None:
    """Note what an end stores; a second end of an answer only amends the first."""
    begun, outcome = end.begun, end.outcome
    usage, billed = booked(begun, outcome)
    conversation = facts.conversations.get(begun.conversation_id)
    if conversation is None:
        # The conversation is deleted, but what was used still counts.
        if not end.again or budgets.has_reserved(begun.message_id):
            facts.ledger.settle(begun, usage, billed.cost)
            ended.past.append(_past(end, usage, billed.cost))
        return
    stored = facts.answers.get(begun.message_id)
    if stored is None or not _is_open(stored):
        if end.again and stored is not None and stored.state != outcome.state:
            _amend(facts, ended, conversation, end)
        return
    facts.ledger.settle(begun, usage, billed.cost)
    ended.answers.append(_row(facts, end, usage, billed))
    # A second end of the answer in the same batch must find it settled.
    facts.answers[begun.message_id] = AnswerRow(
        outcome.state, usage.source, stored.position, stored.replaced_by
    )
    _note_end(facts, ended, conversation, end)
    totals.note_end(conversation, usage, billed.cost)
    facts.changed[conversation.pk] = conversation


def write(facts: Facts, ended: Ended) -> None:
    """Store what was decided, except for the conversations and `past`."""
    _ENDED.update(ended.answers)
    _AMENDED.update(ended.amended)
    if ended.answers:
        pieces.delete_written([row["id"] for row in ended.answers])
    for ident in ended.rehash:
        facts.conversations[ident].thread_hash = stored_hash(ident)
    for ident in ended.restate:
        totals.note_state(facts.conversations[ident])
    facts.ledger.write_settled()


def outcome_of(facts: Facts, end: End) -> Outcome:
    """Return the outcome of a stored end, with the notice about the user's budgets."""
    notice = facts.ledger.notices.get(end.begun.message_id)
    return end.outcome if notice is None else replace(end.outcome, notice=notice)


def _is_open(stored: AnswerRow) -> bool:
    """Return whether an answer still needs its end.

    It does even if another worker took this one for dead and marked it interrupted. A
    row with a usage source is settled: an earlier attempt was committed after all.
    """
    running = stored.state in (_State.STREAMING, _State.INTERRUPTED)
    return running and not stored.usage_source


def _note_end(facts: Facts, ended: Ended, conversation: Conversation, end: End) -> None:
    if facts.answers[end.begun.message_id].replaced_by is None:
        _note_text(ended, conversation, end)
    # Otherwise the answer was taken for dead and replaced, and is no longer in the
    # history.
    conversation.updated_at = facts.now
    _note_state(facts, ended, conversation, end)


def _note_text(ended: Ended, conversation: Conversation, end: End) -> None:
    begun, outcome = end.begun, end.outcome
    if conversation.thread_hash != begun.thread_hash:
        # Another turn has continued the conversation in the meantime.
        ended.rehash.add(conversation.pk)
    elif outcome.text or outcome.tool_calls:
        conversation.thread_hash = extended_hash(
            begun.thread_hash,
            Message.Role.ASSISTANT,
            storable(outcome.text),
            extra_of_answer(outcome.tool_calls),
        )


def _note_state(
    facts: Facts, ended: Ended, conversation: Conversation, end: End
) -> None:
    """Copy the latest answer's state to the conversation; normally that is this one."""
    position = facts.answers[end.begun.message_id].position
    if position == conversation.message_count - 1:
        conversation.state, conversation.model = end.outcome.state, end.outcome.model
    else:
        ended.restate.add(conversation.pk)


def _amend(facts: Facts, ended: Ended, conversation: Conversation, end: End) -> None:
    """Change a stored end to what its client has been sent in the meantime."""
    outcome = end.outcome
    ended.amended.append(
        {
            "id": end.begun.message_id,
            "state": outcome.state,
            "extra": extra_of_answer(outcome.tool_calls),
            "finish_reason": outcome.finish_reason,
            "error_code": outcome.error_code,
            "error_detail": detail(outcome.error_detail),
        }
    )
    ended.rehash.add(conversation.pk)
    ended.restate.add(conversation.pk)
    facts.changed[conversation.pk] = conversation


def note_key(begun: Begun, outcome: Outcome) -> None:
    """Remember which key worked, and when, whether or not the end can be stored.

    If another transaction holds the key or the revision, that is left to the next
    answer with the key: no turn waits for it.
    """
    if outcome.state != _State.COMPLETE and not outcome.text:
        return
    moment = outcome.first_token_at or timezone.now()
    route = begun.answered_by(fell_back=outcome.fell_back)
    try:
        keys.note_use(route.keys, outcome.refused, moment, wait=False)
    except OperationalError as exc:
        if not is_contended(exc):
            raise


def booked(begun: Begun, outcome: Outcome) -> tuple[Usage, Bill]:
    """Return the usage of an answer, the same wherever it is booked, and its bill."""
    usage = outcome.usage
    if outcome.before is not None:
        usage = usage + outcome.before
    return usage, bill(begun, outcome)


def reduced(begun: Begun, outcome: Outcome) -> Outcome:
    """Return an outcome with its text and usage, but no names or tool calls."""
    return Outcome(
        state=_State.ERROR,
        text=outcome.text,
        usage=outcome.usage,
        model=begun.model,
        finish_reason="error",
        error_code="internal_error",
        error_detail="The database accepted the answer only in part.",
        first_token_at=outcome.first_token_at,
        refused=outcome.refused,
        fell_back=outcome.fell_back,
        before=outcome.before,
        lines=outcome.lines,
        lines_before=outcome.lines_before,
    )


def _provider(end: End) -> str:
    return end.begun.answered_by(fell_back=end.outcome.fell_back).provider.name


def _past(end: End, usage: Usage, cost: Decimal | None) -> dict[str, Any]:
    """Return what is kept of an answer that was deleted while it was being written."""
    return {
        "day": end.begun.began_at.astimezone(UTC).date(),
        "provider": _provider(end),
        "model": end.outcome.model,
        "answers": 1,
        "failures": int(end.outcome.state in past.FAILED),
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "unpriced": int(cost is None),
        "cost": cost,
    }


def _row(facts: Facts, end: End, usage: Usage, billed: Bill) -> dict[str, Any]:
    outcome = end.outcome
    return {
        "id": end.begun.message_id,
        "state": outcome.state,
        "content": storable(outcome.text),
        "extra": extra_of_answer(outcome.tool_calls),
        "provider": _provider(end),
        "model": outcome.model,
        "finish_reason": outcome.finish_reason,
        "error_code": outcome.error_code,
        "error_detail": detail(outcome.error_detail),
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cache_write_long_tokens": usage.cache_write_long_tokens,
        "usage_source": usage.source,
        "cost": billed.cost,
        "price": billed.price_id,
        "attempts": outcome.attempts,
        "answered_by": outcome.answerer.model,
        "fingerprint": outcome.answerer.fingerprint,
        "first_token_at": outcome.first_token_at,
        "finished_at": facts.now,
    }
