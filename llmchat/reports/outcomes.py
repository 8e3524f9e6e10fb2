"""How answers end, in the words of operators: each answer has one outcome.

The dashboard counts outcomes and the lists filter by them, with the same conditions.
"""

from __future__ import annotations

from functools import lru_cache

from django.db.models import Q, QuerySet, TextChoices
from django.utils.translation import gettext_lazy as _

from llmchat.models import AnswerState, Message
from llmchat.providers.types import FinishReason


class Outcome(TextChoices):
    """What became of an answer."""

    COMPLETE = "complete", _("complete")
    LENGTH = "length", _("cut off (length)")
    FILTERED = "content_filter", _("cut off (content filter)")
    INTERRUPTED = "interrupted", _("interrupted")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("cancelled")
    STREAMING = "streaming", _("streaming")


# Finish reasons of answers that are complete for their provider, but not for a reader.
_CUT = {
    FinishReason.LENGTH.value: Outcome.LENGTH,
    FinishReason.CONTENT_FILTER.value: Outcome.FILTERED,
}
_OF_STATE = {
    AnswerState.STREAMING: Outcome.STREAMING,
    AnswerState.CANCELLED: Outcome.CANCELLED,
    AnswerState.ERROR: Outcome.FAILED,
    AnswerState.INTERRUPTED: Outcome.INTERRUPTED,
}
LABELS: dict[str, str] = {
    str(Outcome.COMPLETE.label): "success",
    str(Outcome.LENGTH.label): "warning",
    str(Outcome.FILTERED.label): "warning",
    str(Outcome.INTERRUPTED.label): "danger",
    str(Outcome.FAILED.label): "danger",
    str(Outcome.CANCELLED.label): "warning",
    str(Outcome.STREAMING.label): "info",
}


@lru_cache(maxsize=256)
def outcome_of(state: str, finish_reason: str = "") -> Outcome:
    """Return the outcome of an answer in this state, with this finish reason."""
    if state == AnswerState.COMPLETE:
        return _CUT.get(finish_reason, Outcome.COMPLETE)
    return _OF_STATE[AnswerState(state)]


def why(message: Message) -> str:
    """Return a sentence on why an answer is not whole, "" if its outcome says that."""
    outcome = outcome_of(message.state, message.finish_reason)
    if outcome is Outcome.LENGTH:
        count = message.output_tokens
        after = f" after {count:,} output tokens" if count else ""
        return f"The answer reached the token limit{after}."
    if outcome is Outcome.FILTERED:
        return "The provider's content filter stopped the answer."
    return message.error_detail


def condition(outcome: Outcome) -> Q:
    """Return the condition for answers with an outcome."""
    for reason, cut in _CUT.items():
        if cut is outcome:
            return Q(state=AnswerState.COMPLETE, finish_reason=reason)
    if outcome is Outcome.COMPLETE:
        return Q(state=AnswerState.COMPLETE) & ~Q(finish_reason__in=[*_CUT])
    (state,) = (state for state, is_of in _OF_STATE.items() if is_of is outcome)
    return Q(state=state)


def answers(rows: QuerySet[Message]) -> QuerySet[Message]:
    """Return the answers among messages, except those that came with a history."""
    return rows.filter(role=Message.Role.ASSISTANT).exclude(provider="")


def ended(rows: QuerySet[Message]) -> QuerySet[Message]:
    """Return the answers that have ended, which are all that reports count."""
    return answers(rows).exclude(state=AnswerState.STREAMING)
