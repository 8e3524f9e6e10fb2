"""Speed at size: a million messages of 20,000 conversations in PostgreSQL.

With `QUICK=1`, there are a twentieth as many.

Measures what the start and the end of a turn take in the database, and the pages that
operators wait for: each as a median over several rounds, next to its target.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

from benchmarks.loads import QUICK
from tests.postgres import running_postgres
from tests.support import live

CONVERSATIONS = 1_000 if QUICK else 20_000
MESSAGES_EACH = 50
LAST_PAGE = CONVERSATIONS // 100
USERS = 200
TURNS = 100
ROUNDS = 3 if QUICK else 7
TURN_TARGET_MS = 10.0
PAGE_TARGET_MS = 300.0
OPERATOR = "operator"

# What the tables are filled with. A text is 40 words of a vocabulary of 5,000, most of
# them rare, as in real texts; one message in a thousand also has a special word.
FILL = """
CREATE TEMPORARY TABLE texts AS
SELECT number, string_agg('word' || floor(5000 * random() ^ 3)::int, ' ') AS content
FROM generate_series(0, 1999) AS number, generate_series(1, 40) GROUP BY number;
CREATE UNIQUE INDEX ON texts (number);

INSERT INTO llmchat_conversation (id, user_id, title, provider, thread_hash,
    message_count, model, state, turn_count, input_tokens, output_tokens, cost,
    created_at, updated_at)
SELECT gen_random_uuid(), (SELECT min(id) FROM accounts_user) + number % {users},
    'Question number ' || number, (ARRAY['openai', 'claude', 'gemini'])[1 + number % 3],
    encode(sha256(number::text::bytea), 'hex'), {each}, 'model-1',
    CASE WHEN number % 50 = 0 THEN 'error' ELSE 'complete' END,
    {each} / 2, 25000, 5000, 0.05,
    now() - number * interval '5 minutes', now() - number * interval '5 minutes'
FROM generate_series(0, {conversations} - 1) AS number;

INSERT INTO llmchat_message (id, conversation_id, user_id, position, role, content,
    state, created_at, session_id, provider, model, finish_reason, error_code,
    input_tokens, output_tokens, usage_source, cost, attempts, first_token_at,
    finished_at, worker, stop_requested)
SELECT gen_random_uuid(), c.id, c.user_id, position,
    CASE WHEN position % 2 = 0 THEN 'user' ELSE 'assistant' END,
    texts.content || CASE WHEN random() < 0.001 THEN ' unusual' ELSE '' END,
    'complete', c.updated_at - ({each} - position) * interval '10 seconds',
    CASE WHEN position % 2 = 0 THEN '' ELSE 'session' END, c.provider, 'model-1',
    'stop', '', 1000, 200, 'provider', 0.002, 1,
    c.updated_at, c.updated_at, '', false
FROM llmchat_conversation AS c
CROSS JOIN generate_series(0, {each} - 1) AS position
JOIN texts ON texts.number = (position * 7919 + c.message_count * 31
    + abs(hashtext(c.id::text)) % 2000) % 2000;
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """A row of the table, in milliseconds."""

    name: str
    median_ms: float
    worst_ms: float
    target_ms: float


def main() -> None:
    """Measure on a PostgreSQL of its own, in a process with no other settings.

    Raises: SystemExit, if anything misses its target.
    """
    with running_postgres() as url:
        environment = live.environment(live.ROOT) | {"DATABASE_URL": url}
        environment["QUICK"] = os.environ.get("QUICK", "")
        measured = subprocess.run(
            [sys.executable, "-m", "benchmarks.database"],
            env=environment,
            cwd=live.ROOT,
        )
    if measured.returncode:
        raise SystemExit(measured.returncode)


def _measure() -> int:
    import django

    django.setup()
    began = time.perf_counter()
    _fill()
    messages = CONVERSATIONS * MESSAGES_EACH
    print(
        f"database: {messages:,} messages of {CONVERSATIONS:,} conversations,"
        f" loaded in {time.perf_counter() - began:.0f} s",
        flush=True,
    )
    print(f"{'':34}{'median':>12}{'worst':>12}{'target':>12}")
    late = 0
    for row in chain(_turns(), _pages()):
        late += row.median_ms > row.target_ms
        times = (row.median_ms, row.worst_ms, row.target_ms)
        cells = "".join(f"{value:>9.1f} ms" for value in times)
        verdict = "" if row.median_ms <= row.target_ms else "  TOO SLOW"
        print(f"{row.name:34}{cells}{verdict}", flush=True)
    return min(late, 1)


def _fill() -> None:
    from django.core.management import call_command
    from django.db import connection

    from accounts.models import User

    call_command("migrate", verbosity=0)
    User.objects.bulk_create(User(username=f"user{n}") for n in range(USERS))
    User.objects.create_superuser(OPERATOR)
    fill = FILL.format(users=USERS, conversations=CONVERSATIONS, each=MESSAGES_EACH)
    with connection.cursor() as cursor, _without_text_index(cursor):
        for statement in fill.split(";\n"):
            if statement.strip():
                cursor.execute(statement)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


@contextmanager
def _without_text_index(cursor: Any) -> Iterator[None]:
    """Build the index of words only after the block, which is much faster."""
    name = "message_text"
    cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = %s", [name])
    (definition,) = cursor.fetchone()
    cursor.execute(f"DROP INDEX {name}")
    yield
    cursor.execute("SET maintenance_work_mem = '512MB'")
    cursor.execute(definition)


def _turns() -> Iterator[Measured]:
    """Continue conversations by their history, as the documented client does."""
    from llmchat.books.conversations import stored_hash
    from llmchat.books.turn import Outcome
    from llmchat.models import Conversation, Message, Provider
    from llmchat.providers.types import Usage
    from tests.support.turns import begin_turn, end_turn

    Provider.objects.filter(name="openai").update(needs_key=False)
    started: list[float] = []
    ended: list[float] = []
    step = CONVERSATIONS // TURNS
    for number, row in enumerate(Conversation.objects.order_by("pk")[::step]):
        Conversation.objects.filter(pk=row.pk).update(thread_hash=stored_hash(row.pk))
        turn = _next_turn(row, f"turn {number}")
        with _database_time(started):
            begun = begin_turn(row.user_id, turn)
        assert begun.conversation_id == row.pk
        ending = Outcome(
            Message.State.COMPLETE, "Done.", Usage(1000, 2, "provider"), "model-1"
        )
        with _database_time(ended):
            end_turn(begun, ending)
        assert Message.objects.get(pk=begun.message_id).state == ending.state
    yield _measured("a turn's start", started, TURN_TARGET_MS)
    yield _measured("a turn's end", ended, TURN_TARGET_MS)


def _next_turn(conversation: Any, session_id: str) -> Any:
    from llmchat.books.turn import Turn
    from llmchat.providers.types import ChatMessage

    said = conversation.messages.order_by("position").values_list("role", "content")
    history = tuple(ChatMessage(role, content) for role, content in said)
    return Turn(session_id, "openai", (*history, ChatMessage("user", "And then?")))


@contextmanager
def _database_time(times: list[float]) -> Iterator[None]:
    """Append the time that the statements in the block take, commits included."""
    from django.db import connection

    spent = 0.0

    def timed(execute: Callable[..., Any], *args: Any) -> Any:
        nonlocal spent
        began = time.perf_counter()
        try:
            return execute(*args)
        finally:
            spent += time.perf_counter() - began

    commit = connection._commit

    def timed_commit() -> None:
        timed(commit)

    connection._commit = timed_commit
    try:
        with connection.execute_wrapper(timed):
            yield
    finally:
        del connection._commit
    times.append(spent)


def _pages() -> Iterator[Measured]:
    """Request the operators' pages as a superuser's browser does."""
    from django.test import Client
    from django.urls import reverse

    from accounts.models import User
    from llmchat.models import Conversation

    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.get(username=OPERATOR))
    rows = reverse("admin:llmchat_conversation_changelist")
    row = Conversation.objects.order_by("updated_at")[CONVERSATIONS // 2]
    detail = reverse("admin:llmchat_conversation_change", args=[row.pk])
    for name, address in {
        "list": rows,
        f"list, page {LAST_PAGE}": f"{rows}?p={LAST_PAGE}",
        "list of a user": f"{rows}?user__id__exact={row.user_id}",
        "list of a provider": f"{rows}?provider=claude",
        "list of a state": f"{rows}?state__exact=error",
        "search, a word of nine in ten": f"{rows}?q=word0",
        "search, a word of one in ten": f"{rows}?q=word20",
        "search, a word of one in thirty": f"{rows}?q=word100",
        "search, a rare word": f"{rows}?q=unusual",
        "search, two words": f"{rows}?q=word17+word4000",
        "search, no such word": f"{rows}?q=nothing",
        "search, a user": f"{rows}?q=user77",
        "detail": detail,
        "messages": reverse("admin:llmchat_message_changelist"),
        "running streams": reverse("admin:llmchat_runningstream_changelist"),
    }.items():
        yield _measured(name, _page_times(client, address), PAGE_TARGET_MS)


def _page_times(client: Any, address: str) -> list[float]:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        response = client.get(address)
        times.append(time.perf_counter() - began)
        assert response.status_code == 200, (address, response.status_code)
    return times


def _measured(name: str, times: list[float], target_ms: float) -> Measured:
    return Measured(name, 1000 * statistics.median(times), 1000 * max(times), target_ms)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    sys.exit(_measure())
