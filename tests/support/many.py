"""A database with very many messages, made by a few statements.

The conversations are spread evenly over the last days.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from importlib import import_module
from typing import Any

from django.contrib.auth.models import Group
from django.db import connection

from accounts.models import ApiKey, User
from llmchat.books import day_totals
from llmchat.models import Budget, Provider
from tests.support.provider_keys import stored

TURNS = 5
PER_CONVERSATION = 2 * TURNS
DAYS = 90
PROVIDERS = ("openai", "claude", "gemini", "deepseek")
# A word in every thousandth turn, and one in every second turn.
RARE, COMMON = "lighthouse", "harbour"
_WORDS = [
    "sea",
    "ship",
    "light",
    "tower",
    "keeper",
    "storm",
    "island",
    "whale",
    "rope",
    "sail",
    "anchor",
    "write",
    "function",
    "return",
    "sum",
    "number",
    "list",
    "please",
    "explain",
    "how",
    "this",
    "works",
    "cost",
    "run",
    "day",
    "error",
    "request",
    "answer",
    "stream",
    "model",
    "token",
    "provider",
    "budget",
    "price",
    "user",
    "table",
    "index",
    "query",
    "plan",
]


def fill(messages: int, *, users: int = 2000, days: int = DAYS) -> None:
    """Store this many messages, ten to a conversation."""
    conversations = messages // PER_CONVERSATION
    users = min(users, max(1, conversations // 5))
    people = [User(username=f"many-{number}") for number in range(users)]
    ids = [user.pk for user in User.objects.bulk_create(people)]
    user = f"{ids[0]} + (c.n * 7919) % {users}"
    age = f"60 + c.n * {days * 86_400.0 / conversations:f}"
    with connection.cursor() as cursor, _words_last(cursor):
        cursor.execute(_conversations(conversations, user, age))
        cursor.execute(_messages(conversations, user, age))
        cursor.execute(_TOTALS)
    day_totals.keep()  # as the server does in the background
    analyze()


def furnish() -> None:
    """Store what operators manage, unless it is there: some rows of each kind."""
    boss = User.objects.get_or_create(username="furnished")[0]
    team = Group.objects.get_or_create(name="team")[0]
    boss.groups.add(team)
    for name in PROVIDERS:
        fields = {"label": name, "protocol": "openai", "default_model": "model-1"}
        provider, _ = Provider.objects.get_or_create(name=name, defaults=fields)
        provider.access.get_or_create(group=team)
        if not provider.keys.exists():
            stored(provider)
        for model in _MODELS:
            row, _ = provider.known_models.get_or_create(name=model)
            row.prices.get_or_create(valid_from=date(2026, 1, 1), input=1, output=2)
    key, _ = ApiKey.objects.get_or_create(user=boss, name="nightly", scopes="chat")
    owners: list[dict[str, Any]] = [{"user": boss}, {"group": team}, {"api_key": key}]
    for owner in (*owners, {"is_default": True}):
        Budget.objects.get_or_create(**owner, period="day", unit="tokens", limit=10)


def analyze() -> None:
    """Give the planner statistics of what is there, as autovacuum does over time."""
    is_free = connection.vendor == "postgresql" and not connection.in_atomic_block
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if is_free else "ANALYZE")


@contextmanager
def _words_last(cursor: Any) -> Iterator[None]:
    """Build the index of all words after the rows are stored, which is far faster."""
    steps = import_module("llmchat.migrations.0011_admin_indexes")
    is_large = connection.vendor == "postgresql" and not connection.in_atomic_block
    for statement in steps.DROP if is_large else ():
        cursor.execute(statement)
    yield
    for statement in steps.CREATE if is_large else ():
        cursor.execute(statement)


def _conversations(count: int, user: str, age: str) -> str:
    return f"""
        INSERT INTO llmchat_conversation
            (id, user_id, title, provider, thread_hash, message_count, model, state,
             turn_count, created_at, updated_at)
        SELECT {_uuid(1, "c.n")}, {user}, 'Conversation ' || c.n,
            {_of(PROVIDERS, "c.n")}, '', {PER_CONVERSATION}, 'model-1', 'complete',
            {TURNS}, {_ago(f"({age}) + 3600")}, {_ago(age)}
        FROM {_series("c", count)}"""


def _messages(count: int, user: str, age: str) -> str:
    is_answer = "m.n % 2 = 0"
    number = f"(c.n * {TURNS} + m.n / 2)"
    state = _case(number, {7: "error", 17: "interrupted", 27: "cancelled"}, "complete")
    reason = _case(number, {7: "error", 17: "error", 37: "length"}, "stop")
    code = _case(number, {7: "provider_timeout", 17: "draining"}, "")
    is_priced = f"{number} % 20 <> 0"
    moment = _ago(f"({age}) + ({PER_CONVERSATION} - m.n) * 300")
    later = _ago(f"({age}) + ({PER_CONVERSATION} - m.n) * 300 - 4")

    def answers(value: str, other: str = "''") -> str:
        return f"CASE WHEN {is_answer} THEN {value} ELSE {other} END"

    return f"""
        INSERT INTO llmchat_message
            (id, conversation_id, user_id, position, role, content, state, created_at,
             session_id, provider, model, finish_reason, error_code, input_tokens,
             output_tokens, usage_source, cost, attempts, first_token_at, finished_at,
             worker, stop_requested)
        SELECT {_uuid(2, f"c.n * {PER_CONVERSATION} + m.n")}, {_uuid(1, "c.n")}, {user},
            m.n - 1, {answers("'assistant'", "'user'")}, {_text(number)},
            {answers(state, "'complete'")}, {moment},
            {answers("'s-' || c.n || '-' || m.n")},
            {answers(_of(PROVIDERS, "c.n"))}, {answers(_of(_MODELS, "c.n"))},
            {answers(reason)}, {answers(code)}, {answers("100 + c.n % 900", "NULL")},
            {answers("50 + m.n * 10", "NULL")}, {answers("'provider'")},
            CASE WHEN {is_answer} AND {is_priced}
                THEN (1 + {number} % 1000) * 0.00001 ELSE NULL END,
            1, {answers(later, "NULL")}, {answers(later, "NULL")}, '',
            {"false" if _is_postgresql() else "0"}
        FROM {_series("c", count)} CROSS JOIN {_series("m", PER_CONVERSATION)}"""


_MODELS = tuple(f"model-{number}" for number in range(1, 13))
_TOTALS = """
    UPDATE llmchat_conversation SET
        cost = (SELECT coalesce(sum(m.cost), 0) FROM llmchat_message m
                WHERE m.conversation_id = llmchat_conversation.id),
        input_tokens = (SELECT coalesce(sum(m.input_tokens), 0) FROM llmchat_message m
                WHERE m.conversation_id = llmchat_conversation.id),
        output_tokens = (SELECT coalesce(sum(m.output_tokens), 0) FROM llmchat_message m
                WHERE m.conversation_id = llmchat_conversation.id)"""


def _is_postgresql() -> bool:
    return connection.vendor == "postgresql"


def _series(name: str, count: int) -> str:
    """Return the SQL of a FROM that yields the numbers from 1 to `count`."""
    if _is_postgresql():
        return f"generate_series(1, {count}) AS {name}(n)"
    return (
        "(WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted"
        f" WHERE n < {count}) SELECT n FROM counted) AS {name}"
    )


def _uuid(kind: int, number: str) -> str:
    if _is_postgresql():
        return f"md5('{kind}-' || ({number}))::uuid"
    return f"printf('{kind:08x}%024x', {number})"


def _ago(seconds: str) -> str:
    if _is_postgresql():
        return f"now() - ({seconds}) * interval '1 second'"
    return f"datetime('now', '-' || ({seconds}) || ' seconds')"


def _case(number: str, values: dict[int, str], other: str) -> str:
    """Return the SQL that gives each of the values to one answer in 300."""
    cases = " ".join(
        f"WHEN {number} % 300 = {rest} THEN '{value}'" for rest, value in values.items()
    )
    return f"CASE {cases} ELSE '{other}' END"


def _of(values: tuple[str, ...] | list[str], number: str) -> str:
    cases = " ".join(
        f"WHEN {at} THEN '{value}'" for at, value in enumerate(values[:-1])
    )
    return f"CASE ({number}) % {len(values)} {cases} ELSE '{values[-1]}' END"


def _text(number: str) -> str:
    """Return the SQL of a text of some fifty words, which differs between messages."""
    some = " || ' ' || ".join(
        _of(_WORDS, f"{number} * {step} + m.n") for step in (1, 3, 7, 11, 13, 17)
    )
    common = f"CASE WHEN {number} % 2 = 0 THEN ' {COMMON} ' ELSE ' quay ' END"
    rare = f"CASE WHEN {number} % 1000 = 1 THEN '{RARE}' ELSE 'beacon' END"
    filler = " ".join(_WORDS[:20])
    return f"{some} || {common} || {rare} || ' {filler} ' || {number} || ' {filler}'"
