"""Storing starts and ends of turns together: read, decide, write in one transaction.

A turn that is refused does not affect the others. A batch that fails is stored by
halves, so that an item that cannot be stored does not block the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from django.db import (
    IntegrityError,
    InterfaceError,
    OperationalError,
    transaction,
)

from llmchat.access import keys
from llmchat.books import begin, checkpoint, end, facts, leases, past, replacing
from llmchat.books.begin import StartUnknownError
from llmchat.books.checkpoint import Checkpointed
from llmchat.books.conversations import COLUMNS
from llmchat.books.facts import Facts
from llmchat.books.sql import Columns, one_cursor
from llmchat.books.sweep import sweep
from llmchat.books.turn import (
    Begun,
    Checkpoint,
    End,
    KeyRefusal,
    Outcome,
    Start,
)
from llmchat.database import is_contended, note_failure
from llmchat.errors import ChatError, refusal, unavailable
from llmchat.models import Conversation, Message

logger = logging.getLogger(__name__)

Item: TypeAlias = Start | End | Checkpoint | KeyRefusal
# A turn that has begun, an end as it is stored, what a checkpoint or a refusal gives,
# or why the item was not stored.
Result: TypeAlias = Begun | Outcome | Checkpointed | KeyRefusal | Exception

_MAY_BE_DEAD = frozenset({"session_active", "conversation_active", "too_many_streams"})
_MESSAGES = Columns(Message, (field.name for field in Message._meta.fields))
_CHANGED = Columns(
    Conversation,
    [
        "provider",
        "thread_hash",
        "message_count",
        "replaced_count",
        "model",
        "state",
        "turn_count",
        "input_tokens",
        "output_tokens",
        "cost",
        "updated_at",
        "id",
    ],
)
_NAMED = Columns(Conversation, ["title", "id"])


class Contended(Exception):  # noqa: N818  # what it is
    """Another transaction holds a row that the item needs: it has to wait alone."""


def store(items: Sequence[Item]) -> list[Result]:
    """Store a batch without waiting for locks; return the result of each item.

    Raises: OperationalError, InterfaceError: nothing is stored.
    """
    return _halved(items, is_whole=True)


def store_alone(item: Item) -> Result:
    """Store one item, waiting for the rows that other transactions hold.

    If running answers block a start, those whose process has died are swept first, in
    transactions of their own, which a later refusal does not undo.
    """
    result = _alone(item)
    user_id = blocked_user(item, result)
    if user_id is None:
        return result
    try:
        sweep(user_id)
    except (OperationalError, InterfaceError) as exc:
        return unstored(item, exc)
    # Even if nothing was swept: the sweep of another process may have been quicker.
    return _alone(item)


def blocked_user(item: Item, result: Result) -> int | None:
    """Return the user of a start that is refused because of the user's running answers.

    Their processes may have died. Any other item or result gives None.
    """
    if not isinstance(item, Start) or not isinstance(result, ChatError):
        return None
    return item.user_id if result.code in _MAY_BE_DEAD else None


def _halved(items: Sequence[Item], *, is_whole: bool = False) -> list[Result]:
    """Store what can be stored, by halves until the items that cannot be are found."""
    try:
        return _together(items, wait=False)
    except (OperationalError, InterfaceError) as exc:
        if not is_contended(exc):
            if is_whole:
                raise
            note_failure(exc)
            return [unstored(item, exc) for item in items]
        if len(items) == 1:
            return [Contended()]
    except Exception as exc:
        if len(items) == 1:
            return [_refused(items[0], exc)]
        logger.info("a batch of %d failed, storing each half: %s", len(items), exc)
    middle = len(items) // 2
    return _halved(items[:middle]) + _halved(items[middle:])


def _alone(item: Item) -> Result:
    try:
        return _together([item], wait=True)[0]
    except (OperationalError, InterfaceError) as exc:
        note_failure(exc)
        return unstored(item, exc)
    except Exception as exc:
        return _refused(item, exc)


def _together(items: Sequence[Item], *, wait: bool) -> list[Result]:
    """Store a batch in one transaction."""
    starts = [item for item in items if isinstance(item, Start)]
    ends = [item for item in items if isinstance(item, End)]
    checkpoints = [item for item in items if isinstance(item, Checkpoint)]
    refusals = [item for item in items if isinstance(item, KeyRefusal)]
    for refused in refusals:
        keys.note_refusal(refused.key, refused.code, refused.at, wait=wait)
    for item in ends:
        end.note_key(item.begun, item.outcome)
    results: dict[int, Result] = {}
    is_decided = False
    try:
        with transaction.atomic(), one_cursor():
            known = facts.read(starts, ends, wait=wait)
            results = {id(item): checkpoint.write(item) for item in checkpoints}
            results |= {id(item): item for item in refusals}
            ended = end.Ended()
            for item in ends:
                end.decide(known, ended, item)
            end.write(known, ended)
            if not starts:  # else `_begun` writes them, with its own changes
                _write_conversations(known)
            results |= {id(item): end.outcome_of(known, item) for item in ends}
            results |= _begun(known, starts)
            past.add(ended.past)
            _note_alive(known, is_due=bool(checkpoints))
            is_decided = True
    except (OperationalError, InterfaceError) as exc:
        if not is_decided:
            raise
        note_failure(exc)
        return [_unknown(results[id(item)], exc) for item in items]
    return [results[id(item)] for item in items]


def _begun(known: Facts, starts: Sequence[Start]) -> dict[int, Result]:
    """Decide and store starts, after the ends have released their reservations."""
    if not starts:
        return {}
    known.ledger.read_reserved()
    known.threads = replacing.read(replacing.wanted(known.conversations, starts))
    results: dict[int, Result] = {}
    for start in starts:
        try:
            results[id(start)] = begin.decide(known, start)
        except ChatError as exc:
            results[id(start)] = exc
    _write_conversations(known)
    replacing.write(known.cuts)
    _MESSAGES.insert(known.messages)
    known.ledger.write_reserved()
    return results


def _note_alive(known: Facts, *, is_due: bool) -> None:
    """Renew the lease of this process, after all other locks are taken."""
    if is_due:
        leases.renew(known.now)
    elif known.messages:
        leases.keep(known.now)


def _write_conversations(known: Facts) -> None:
    added = {row.pk: row for row in known.added}
    COLUMNS.insert([_values(row, COLUMNS) for row in added.values()])
    changed = [row for pk, row in known.changed.items() if pk not in added]
    _CHANGED.update([_values(row, _CHANGED) for row in changed])
    if known.named:
        _NAMED.update([_values(row, _NAMED) for row in known.named])


def _values(row: Conversation, columns: Columns) -> dict[str, object]:
    values = {name: getattr(row, name) for name in columns.names if name != "user"}
    return values | {"user": row.user_id}


def _unknown(result: Result, exc: Exception) -> Result:
    """Return the result of an item whose COMMIT failed."""
    if isinstance(result, Begun):
        return StartUnknownError(result)
    return result if isinstance(result, Exception) else exc


def unstored(item: Item, exc: Exception) -> Exception:
    """Return the result of an item to which the database did not respond."""
    if not isinstance(item, Start):
        return exc
    refused = unavailable()
    refused.__cause__ = exc
    return refused


def _refused(item: Item, exc: Exception) -> Result:
    """Return the result of an item that the database does not accept as it is."""
    if isinstance(item, End):
        return _reduced(item, exc)
    if not isinstance(item, Start) or not isinstance(exc, IntegrityError):
        return exc
    if _is_running(item):
        return refusal("session_active")
    return exc


def _is_running(start: Start) -> bool:
    running = Message.objects.filter(
        user_id=start.user_id,
        session_id=start.turn.session_id,
        state=Message.State.STREAMING,
    )
    return running.exists()


def _reduced(item: End, exc: Exception) -> Result:
    """Store an end without the provider's names and calls: no row stays `streaming`."""
    ident = item.begun.message_id
    logger.error("answer %s could not be stored in full", ident, exc_info=exc)
    less = replace(item, outcome=end.reduced(item.begun, item.outcome))
    try:
        return _together([less], wait=True)[0]
    except Exception as again:
        return again
