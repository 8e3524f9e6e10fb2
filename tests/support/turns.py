"""Turns that are stored one by one, with no task and no provider."""

from __future__ import annotations

from llmchat.books.batch import store_alone
from llmchat.books.conversations import start_of
from llmchat.books.turn import Begun, End, Outcome, Turn
from llmchat.models import Message


def begin_turn(user_id: int, turn: Turn) -> Begun:
    """Store the user's message and the answer to come.

    Raises: ChatError, as `begin.decide` does, or `database_unavailable`;
        StartUnknownError, a `database_unavailable` whose turn may be stored.
    """
    result = store_alone(start_of(user_id, turn))
    if isinstance(result, Exception):
        raise result
    assert isinstance(result, Begun)
    return result


def end_turn(begun: Begun, outcome: Outcome, again: bool = False) -> Outcome:
    """Store what became of an answer, at least its text; return what is stored.

    Raises: OperationalError, InterfaceError: the database does not answer.
    """
    result = store_alone(End(begun, outcome, again))
    if isinstance(result, Exception):
        raise result
    assert isinstance(result, Outcome)
    return result


def end_stored(begun: Begun, outcome: Outcome) -> None:
    """Store what became of an answer, and check that its row says the same."""
    end_turn(begun, outcome)
    row = Message.objects.get(pk=begun.message_id)
    assert (row.state, row.content) == (outcome.state, outcome.text)
