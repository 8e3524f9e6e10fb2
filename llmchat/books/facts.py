"""What a batch of starts and ends has to know, read as sets and locked in one order.

The order is users, conversations, messages, budgets, each by primary key; the sums of
days come later, when the rest is written (`past.py`). Transactions that keep to it
cannot deadlock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.utils import timezone

from llmchat.access import memory
from llmchat.access.budgets import Ledger
from llmchat.access.memory import Memory
from llmchat.books import replacing
from llmchat.books.conversations import COLUMNS, conversation_of
from llmchat.books.replacing import Cut, Thread
from llmchat.books.sql import Columns, idents, locking, places
from llmchat.books.turn import End, Start
from llmchat.models import Conversation, Message

_STORED = Columns(Message, ["id", "state", "usage_source", "position", "replaced_by"])
_RUNNING = Columns(Message, ["user", "session_id"])


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """The row of an answer whose end is to be stored."""

    state: str
    usage_source: str
    position: int
    replaced_by: int | None = None


@dataclass(slots=True)
class Facts:
    """What is stored when the batch begins; decisions change it as they are made.

    `users` are the active users and whether each is a superuser; `sessions` are the
    session ids of running answers. `added` are conversations to insert, `changed`
    conversations to update, `named` those of them that get a title, `messages` messages
    to insert, and `cuts` what is replaced.
    """

    known: Memory
    now: datetime = field(default_factory=timezone.now)
    users: dict[int, bool] = field(default_factory=dict)
    groups: dict[int, frozenset[int]] = field(default_factory=dict)
    sessions: dict[int, list[str]] = field(default_factory=dict)
    conversations: dict[UUID, Conversation] = field(default_factory=dict)
    answers: dict[UUID, AnswerRow] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    added: list[Conversation] = field(default_factory=list)
    changed: dict[UUID, Conversation] = field(default_factory=dict)
    named: list[Conversation] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    threads: dict[UUID, Thread] = field(default_factory=dict)
    cuts: list[Cut] = field(default_factory=list)


def read(starts: Sequence[Start], ends: Sequence[End], *, wait: bool) -> Facts:
    """Read and lock the rows that these starts and ends need.

    Without `wait`, it fails if another transaction holds any of them except a budget.

    Raises: OperationalError.
    """
    lock = locking(wait=wait)
    # Creating a budget locks the users that it is for, so once their locks are taken
    # here, the budget is known.
    users = _locked_users({start.user_id for start in starts}, lock)
    # An end needs only its own answer, however its provider has changed since.
    facts = Facts(memory.current() if starts else memory.latest(), users=users)
    _read_running(facts)
    _read_conversations(facts, starts, ends, lock)
    _read_answers(facts, [end.begun.message_id for end in ends], lock)
    if lock and (wanted := replacing.wanted(facts.conversations, starts)):
        _lock_messages(wanted, lock)
    drawn: dict[int, set[int]] = {}
    for end in ends:
        if end.begun.budgets:
            drawn.setdefault(end.begun.user_id, set()).update(end.begun.budgets)
    if drawn or (facts.users and facts.known.has_budgets):
        members = {pk: facts.groups.get(pk, frozenset()) for pk in facts.users}
        keys = {start.key_id for start in starts if start.key_id is not None}
        of_each = facts.known.has_budgets_of_each
        facts.ledger.lock(members, keys, drawn, of_each=of_each)
    return facts


def _locked_users(wanted: set[int], lock: str) -> dict[int, bool]:
    """Return the active users among `wanted`, and whether each is a superuser."""
    if not wanted:
        return {}
    ids = sorted(wanted)
    users = Columns(get_user_model(), ["id", "is_superuser"])
    sql = (
        f"SELECT {users.selected} FROM {users.table} "
        f"WHERE id IN ({places(ids)}) AND is_active ORDER BY id{lock}"
    )
    return {pk: bool(is_super) for pk, is_super in users.read(sql, ids)}


def _read_running(facts: Facts) -> None:
    """Read the users' groups, and the session ids of their running answers."""
    if not facts.users:
        return
    ids = [*facts.users]
    if facts.known.needs_groups:
        facts.groups = _groups_of(ids)
    # Every session id is at least ''. Without this condition SQLite would use the index
    # of all of a user's messages, not that of running answers.
    sql = (
        f"SELECT {_RUNNING.selected} FROM {_RUNNING.table} "
        f"WHERE user_id IN ({places(ids)}) AND session_id >= '' AND state = 'streaming'"
    )
    for pk, session_id in _RUNNING.read(sql, ids):
        facts.sessions.setdefault(pk, []).append(session_id)


def _groups_of(user_ids: Sequence[int]) -> dict[int, frozenset[int]]:
    found: dict[int, set[int]] = {}
    users = get_user_model().objects.filter(pk__in=user_ids, groups__isnull=False)
    for user_id, group_id in users.order_by().values_list("pk", "groups"):
        found.setdefault(user_id, set()).add(group_id)
    return {user_id: frozenset(groups) for user_id, groups in found.items()}


def _read_conversations(
    facts: Facts, starts: Iterable[Start], ends: Iterable[End], lock: str
) -> None:
    """Read the conversations that are named, and those that the histories fit.

    For each history, as many of the latest conversations are read as there are turns
    with it: once the first turn has continued the first conversation, the second turn
    takes the second.
    """
    table = COLUMNS.table
    terms, parameters = [], []
    if ids := {end.begun.conversation_id for end in ends}:
        terms.append(f"SELECT id FROM {table} WHERE id IN ({places(list(ids))})")
        parameters += idents(ids)
    histories: Counter[tuple[int, str]] = Counter()
    for start in starts:
        if start.turn.conversation_id is not None:
            terms.append(f"SELECT id FROM {table} WHERE id = %s AND user_id = %s")
            parameters += [*idents([start.turn.conversation_id]), start.user_id]
        histories.update((start.user_id, known.hash) for known in start.known)
    for (user_id, thread_hash), count in histories.items():
        latest = (
            f"SELECT id FROM {table} WHERE user_id = %s AND thread_hash = %s "
            f"ORDER BY updated_at DESC LIMIT {count}"
        )
        terms.append(f"SELECT id FROM ({latest}) AS latest{len(terms)}")
        parameters += [user_id, thread_hash]
    if terms:
        sql = (
            f"SELECT {COLUMNS.selected} FROM {table} "
            f"WHERE id IN ({' UNION ALL '.join(terms)}) ORDER BY id{lock}"
        )
        rows = COLUMNS.read(sql, parameters)
        facts.conversations = {row[0]: conversation_of(row) for row in rows}


def _lock_messages(conversation_ids: Sequence[UUID], lock: str) -> None:
    """Lock the messages of which some may be replaced.

    The conversation's lock keeps others from changing them, but not from deleting them.
    """
    placeholders = places(conversation_ids)
    where = f"conversation_id IN ({placeholders}) AND replaced_by IS NULL"
    sql = f"SELECT id FROM {_STORED.table} WHERE {where} ORDER BY id{lock}"
    Columns(Message, ["id"]).read(sql, idents(conversation_ids))


def _read_answers(facts: Facts, ids: Sequence[UUID], lock: str) -> None:
    if not ids:
        return
    sql = (
        f"SELECT {_STORED.selected} FROM {_STORED.table} "
        f"WHERE id IN ({places(ids)}) ORDER BY id{lock}"
    )
    rows = _STORED.read(sql, idents(ids))
    facts.answers = {row[0]: AnswerRow(*row[1:]) for row in rows}
