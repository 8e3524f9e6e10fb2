"""The end of an answer, read from the database when its worker cannot send it."""

from __future__ import annotations

from collections.abc import Iterator

from llmchat.answers.events import Cancelled, Done, End, Failed, Started
from llmchat.answers.letters import calls_of
from llmchat.books.placed import StoredAnswer
from llmchat.errors import REFUSALS, ChatError, from_provider, refusal
from llmchat.models import AnswerState
from llmchat.providers.errors import ProviderError


def end_of(row: StoredAnswer, started: Started) -> End:
    """Return the stored end of an answer as its readers get it."""
    place, billed = started.place, (row.usage, row.cost)
    if row.state == AnswerState.COMPLETE and row.usage is not None:
        return Done(
            started.session_id,
            row.provider,
            row.model,
            *place,
            row.text,
            row.finish_reason,
            row.usage,
            calls_of(row.extra),
            row.cost,
        )
    if row.state == AnswerState.CANCELLED:
        return Cancelled(started.session_id, *place, row.text, *billed)
    error = _error(row.error_code)
    return Failed(started.session_id, error, row.text, *place, *billed)


def broken_off(started: Started, text: str) -> Failed:
    """Return the end of an answer of which nothing more arrives."""
    return Failed(started.session_id, refusal("interrupted"), text, *started.place)


def deleted(started: Started, text: str) -> Cancelled:
    """Return the end of an answer whose row is gone."""
    return Cancelled(started.session_id, *started.place, text)


def _error(code: str) -> ChatError:
    """Return the error of a stored code; the original text is not stored."""
    for kind in _below(ProviderError):
        if kind.code == code and code not in REFUSALS:
            return from_provider(kind())
    return refusal(code if code in REFUSALS else "interrupted")


def _below(base: type[ProviderError]) -> Iterator[type[ProviderError]]:
    yield base
    for kind in base.__subclasses__():
        yield from _below(kind)
