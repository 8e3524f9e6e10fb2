"""What is stored in the life of a turn: checkpoints, leases, ends late or missing."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import uuid
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from llmchat.access import catalogue, keys
from llmchat.access.permissions import Access
from llmchat.access.prices import Charge
from llmchat.answers import checkpoints, runtime, stopping
from llmchat.answers.events import Cancelled, Done, Failed, Token
from llmchat.books import workers
from llmchat.books.batch import store_alone
from llmchat.books.checkpoint import Checkpointed
from llmchat.books.conversations import stored_hash
from llmchat.books.sweep import sweep
from llmchat.books.turn import LEASE, Checkpoint, Progress
from llmchat.books.writer import Books
from llmchat.database import in_database
from llmchat.errors import ChatError
from llmchat.models import (
    Conversation,
    Message,
    Piece,
    Provider,
    ProviderKey,
    Worker,
)
from llmchat.models.workers import texts_of
from llmchat.providers.types import Usage
from tests.support.chat_fixtures import broken_database, events_of, until
from tests.support.streaming import streaming
from tests.support.turns import begin_turn

ACCESS = Access({"test": ("*",)})


async def the_answer() -> Message | None:
    rows = Message.objects.filter(role="assistant")
    return await in_database(rows.first)


def is_answer(state, content):
    """Return a check of the stored answer, for `until`."""

    async def check() -> bool:
        row = await the_answer()
        return (row.state, await text_of(row)) == (state, content)

    return check


async def text_of(row: Message) -> str:
    """Return the text of an answer, so far or complete."""
    texts = await in_database(texts_of, [row.pk])
    return row.content + texts.get(row.pk, "")


async def lease() -> datetime:
    worker = await in_database(lambda: Worker.objects.get(name=workers.worker_id()))
    return worker.lease_until


async def test_a_checkpoint_stores_what_is_new_and_renews_the_lease(
    user, provider, upstream, turn, monkeypatch
):
    monkeypatch.setattr(checkpoints, "INTERVAL_S", 60)
    upstream.steps = ("Hel", go := asyncio.Event(), "lo", end := asyncio.Event())
    async with streaming(user, turn("Hi")) as (_, events, _stream):
        await runtime.get().checkpoints.store()
        before = await lease()
        assert before > timezone.now() + LEASE / 2
        await runtime.get().checkpoints.store()
        assert await the_pieces() == [(0, "Hel")]
        assert await lease() > before
        go.set()
        await until(lambda: has_tokens(events, 2))
        await runtime.get().checkpoints.store()
        assert await the_pieces() == [(0, "Hel"), (3, "lo")]
        row = await the_answer()
        assert (row.state, row.content, await text_of(row)) == (
            "streaming",
            "",
            "Hello",
        )
        end.set()
    assert (await the_answer()).content == "Hello"
    assert await the_pieces() == []


async def has_tokens(events: list[object], number: int) -> bool:
    return sum(isinstance(event, Token) for event in events) == number


async def the_pieces() -> list[tuple[int, str]]:
    rows = Piece.objects.order_by("pk").values_list("start", "text")
    return await in_database(lambda: list(rows))


async def test_a_checkpoint_whose_commit_was_not_told_doubles_nothing(
    user, provider, upstream, turn, monkeypatch
):
    monkeypatch.setattr(checkpoints, "INTERVAL_S", 60)
    store, failed = Books.checkpoint, []

    async def fail(*args: object) -> object:
        taken = await store(*args)
        if not failed:
            failed.append(True)
            raise OperationalError("the connection is lost")
        return taken

    monkeypatch.setattr(Books, "checkpoint", fail)
    upstream.steps = ("Hel", go := asyncio.Event(), "lo", end := asyncio.Event())
    async with streaming(user, turn("Hi")) as (_, events, _stream):
        with pytest.raises(OperationalError):
            await runtime.get().checkpoints.store()
        go.set()
        await until(lambda: has_tokens(events, 2))
        await runtime.get().checkpoints.store()
        assert await the_pieces() == [(0, "Hel"), (0, "Hello")]
        assert await text_of(await the_answer()) == "Hello"
        end.set()


async def test_pieces_that_nobody_writes_are_deleted(user, provider, upstream, turn):
    upstream.steps = ("Hel", go := asyncio.Event())
    async with streaming(user, turn("Hi")):
        await runtime.get().checkpoints.store()
        answer = await the_answer()

        def leave() -> None:
            fields = {"start": 0, "text": "gone", "written_at": timezone.now()}
            Piece.objects.create(message_id=uuid.uuid4(), **fields)
            sweep()

        await in_database(leave)
        left = await in_database(lambda: list(Piece.objects.all()))
        assert [(row.message_id, row.text) for row in left] == [(answer.pk, "Hel")]
        go.set()


async def test_no_conversation_is_read_and_nothing_sorted_to_find_what_runs(
    user, provider, upstream, turn
):
    """Nothing needs the default order of messages, which is by conversation."""

    def statements() -> list[str]:
        begun = begin_turn(user.pk, turn("Hi"))
        with CaptureQueriesContext(connection) as queries:
            checkpoint(Progress(begun.message_id, 0, "Hel", None))
            sweep()
            sweep(user.pk)
            stopping.stop(Message.objects.all())
        return [query["sql"] for query in queries.captured_queries]

    assert [sql for sql in await in_database(statements) if "JOIN" in sql] == []


async def test_text_is_checkpointed_while_it_streams(
    user, provider, upstream, turn, monkeypatch
):
    monkeypatch.setattr(checkpoints, "INTERVAL_S", 0.01)
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with streaming(user, turn("Hi")):
        await until(is_answer("streaming", "Hel"))
        go.set()


async def test_what_is_deleted_while_it_streams_is_cancelled_and_stays_deleted(
    user, provider, upstream, turn, monkeypatch
):
    monkeypatch.setattr(checkpoints, "INTERVAL_S", 0.01)
    upstream.steps = ("Hel", asyncio.Event())
    async with streaming(user, turn("Hi")) as (_, events, _stream):
        await in_database(lambda: Conversation.objects.all().delete())
        async with asyncio.timeout(20):
            await upstream.hung_up.wait()
    assert isinstance(events[-1], Cancelled)
    assert await the_answer() is None
    assert await in_database(Conversation.objects.count) == 0


async def test_a_user_deleted_while_streaming_is_cut_off_and_leaves_no_row(
    user, provider, upstream, turn
):
    upstream.steps = ("Hel", asyncio.Event())
    async with streaming(user, turn("Hi")) as (_, events, _stream):
        await in_database(user.delete)
    assert isinstance(events[-1], Cancelled)
    assert await the_answer() is None


async def test_an_operator_stops_a_stream_of_any_worker(
    user, provider, upstream, turn, monkeypatch
):
    monkeypatch.setattr(checkpoints, "INTERVAL_S", 0.01)
    upstream.steps = ("Hel", asyncio.Event())
    async with streaming(user, turn("Hi")) as (_, events, _stream):
        stop = Message.objects.filter(state="streaming")
        await in_database(lambda: stop.update(stop_requested=True))
        async with asyncio.timeout(20):
            await upstream.hung_up.wait()
    assert isinstance(events[-1], Cancelled)
    assert (await the_answer()).state == "cancelled"


async def test_the_row_of_a_living_worker_is_not_swept(user, provider, upstream, turn):
    upstream.steps = ("Hel", go := asyncio.Event())
    async with streaming(user, turn("Hi")):
        assert await in_database(sweep) == 0
        go.set()


async def test_a_process_that_was_suspended_leaves_its_own_rows_alone(
    user, provider, upstream, turn, monkeypatch
):
    """As after SIGCONT: its lease has run out, and the sweep runs before a renewal."""
    monkeypatch.setattr(checkpoints, "INTERVAL_S", 60)
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    await first_sweep()
    async with streaming(user, turn("Hi")) as (_, events, _stream):
        late = timezone.now() - timedelta(minutes=5)
        await in_database(lambda: Worker.objects.update(lease_until=late))
        await in_database(lambda: Message.objects.update(created_at=late))
        assert await in_database(sweep) == 0
        assert await in_database(sweep, user.pk) == 0
        await runtime._sweep()
        row = await the_answer()
        assert (row.state, await text_of(row)) == ("streaming", "Hel")
        assert await lease() > timezone.now()
        go.set()
    assert isinstance(events[-1], Done)


async def first_sweep() -> None:
    """Wait for the first sweep of a process, which knows of no answer yet."""
    shared = runtime.get()
    await asyncio.sleep(0)
    if shared._tasks:
        await asyncio.wait(shared._tasks)


async def test_a_row_of_its_own_that_it_does_not_write_is_interrupted(
    user, provider, upstream, turn
):
    """A start whose COMMIT was not confirmed leaves such a row."""
    row = await orphan(user, turn)
    await runtime._sweep()
    await in_database(row.refresh_from_db)
    assert row.state == "streaming"  # its COMMIT may still be confirmed
    late = timezone.now() - LEASE - timedelta(seconds=1)
    await in_database(lambda: Message.objects.update(created_at=late))
    await runtime._sweep()
    await in_database(row.refresh_from_db)
    assert row.state == "interrupted"


def checkpoint(*progress: Progress) -> None:
    assert isinstance(store_alone(Checkpoint(progress)), Checkpointed)


async def orphan(user, turn, *, worker="", lease=timedelta(minutes=1)) -> Message:
    """Leave a row behind, as a process that dies in mid-stream does."""

    def make() -> Message:
        begun = begin_turn(user.pk, turn("Hi"))
        first = timezone.now()
        checkpoint(Progress(begun.message_id, 0, "He", first))
        checkpoint(Progress(begun.message_id, 2, "l", first))
        if worker:
            until = timezone.now() + lease
            Worker.objects.create(name=worker, lease_until=until)
            Message.objects.filter(pk=begun.message_id).update(worker=worker)
        return Message.objects.get(pk=begun.message_id)

    return await in_database(make)


async def test_a_row_whose_lease_ran_out_is_interrupted(user, provider, upstream, turn):
    late = -timedelta(seconds=1)
    row = await orphan(user, turn, worker="elsewhere/1/2", lease=late)
    assert await in_database(sweep) == 1

    await in_database(row.refresh_from_db)
    assert (row.state, row.content) == ("interrupted", "Hel")
    assert row.created_at < row.first_token_at < row.finished_at
    assert await the_pieces() == []
    conversation = await in_database(lambda: row.conversation)
    assert conversation.thread_hash == await in_database(stored_hash, conversation.pk)
    await events_of(user, turn("Hi", "Hel", "on", session_id="s-2"))
    assert await in_database(Conversation.objects.count) == 1


async def test_a_row_with_a_lease_of_another_machine_is_left_alone(
    user, provider, upstream, turn
):
    await orphan(user, turn, worker="elsewhere/1/2")
    assert await in_database(sweep) == 0


async def test_a_row_of_a_dead_process_of_this_machine_is_interrupted_at_once(
    user, provider, upstream, turn
):
    command = "from llmchat.books.workers import worker_id; print(worker_id())"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", command, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    row = await orphan(user, turn, worker=output.decode().strip())
    assert await in_database(sweep) == 1
    await in_database(row.refresh_from_db)
    assert row.state == "interrupted"


async def test_the_session_of_a_dead_process_may_be_used_again(
    user, provider, upstream, turn
):
    await orphan(user, turn, worker="x/1/2", lease=timedelta())
    assert isinstance((await events_of(user, turn("Hi")))[-1], Done)


async def test_a_worker_taken_for_dead_still_has_its_last_word(
    user, provider, upstream, turn
):
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with streaming(user, turn("Hi")):
        rows = Message.objects.filter(state="streaming")
        await in_database(lambda: rows.update(state="interrupted"))
        go.set()
    row = await the_answer()
    assert (row.state, row.content) == ("complete", "Hello")
    conversation = await in_database(lambda: row.conversation)
    assert conversation.thread_hash == await in_database(stored_hash, conversation.pk)


def test_this_process_is_known_to_live_and_a_gone_one_to_be_dead():
    place, pid, started = workers.worker_id().split("/")
    assert pid == str(os.getpid())
    assert not workers.is_known_dead(f"{place}/{pid}/{started}")
    assert workers.is_known_dead(f"{place}/{pid}/1")
    assert not workers.is_known_dead(f"elsewhere/{pid}/1")
    assert not workers.is_known_dead("")


def test_nobody_is_dead_of_whom_nothing_can_be_read(monkeypatch):
    place, pid, _ = workers.worker_id().split("/")

    def read(path):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "read_text", read)
    assert not workers.is_known_dead(f"{place}/{pid}/1")
    mine = workers._worker_id.__wrapped__(int(pid))
    assert not workers.is_known_dead(mine)


@pytest.mark.parametrize("statement", ["SELECT", "INSERT", "BEGIN"])
async def test_a_database_that_is_down_refuses_the_turn(
    user, provider, upstream, turn, statement
):
    if statement == "BEGIN" and connection.vendor != "sqlite":
        pytest.skip("only SQLite is told to begin by Django")
    with broken_database(statement), pytest.raises(ChatError) as refused:
        await events_of(user, turn("Hi"))
    assert (refused.value.code, refused.value.status) == ("database_unavailable", 503)
    assert not upstream.requests
    assert await the_answer() is None


async def test_shutting_down_cuts_off_and_stores_what_streams(
    user, provider, upstream, turn
):
    upstream.steps = ("Hel", asyncio.Event())
    async with streaming(user, turn("Hi")) as (_, events, _stream):
        await runtime.shutdown()
    assert isinstance(events[-1], Failed)
    assert (events[-1].error.code, events[-1].partial) == ("draining", "Hel")
    answer = await the_answer()
    assert (answer.state, answer.error_code) == ("interrupted", "draining")
    assert answer.content == "Hel"


async def test_a_refused_key_rests_and_the_next_one_is_used(
    user, provider, upstream, turn
):
    def make() -> list[ProviderKey]:
        provider.needs_key = True
        provider.save()
        for name in ("first", "second"):
            key = ProviderKey(provider=provider, name=name)
            key.set_value(f"sk-{name}-0123456789")
            key.save()
        return list(provider.keys.all())

    first, second = await in_database(make)
    route = await in_database(catalogue.route, "test", ACCESS)
    refused = {route.keys[0].ident: "provider_auth"}
    await in_database(partial(keys.note, route.keys, refused, worked=True))
    for key in (first, second):
        await in_database(key.refresh_from_db)
    assert first.last_error == "provider_auth"
    assert first.resting_until > timezone.now()
    assert second.last_used_at is not None

    await events_of(user, turn("Hi"))
    assert upstream.authorizations == ["bearer sk-second-0123456789"]


async def test_a_key_that_was_passed_over_is_neither_refused_nor_used(
    user, provider, upstream, turn
):
    def make() -> list[ProviderKey]:
        provider.needs_key = True
        provider.save()
        for name in ("first", "second"):
            key = ProviderKey(provider=provider, name=name)
            key.set_value(f"sk-{name}-0123456789")
            key.save()
        return list(provider.keys.all())

    upstream.status = 403
    first, second = await in_database(make)
    await events_of(user, turn("Hi"))
    for key in (first, second):
        await in_database(key.refresh_from_db)
    states = {(key.last_error, key.resting_until) for key in (first, second)}
    assert len(upstream.authorizations) == 2
    assert states == {("", None)}

    route = await in_database(catalogue.route, "test", ACCESS)
    passed_over = {route.keys[0].ident: ""}
    await in_database(partial(keys.note, route.keys, passed_over, worked=True))
    for key in (first, second):
        await in_database(key.refresh_from_db)
    assert first.last_used_at is None
    assert second.last_used_at is not None


def test_a_new_value_begins_without_the_old_ones_past() -> None:
    now = timezone.now()
    key = ProviderKey(resting_until=now, last_used_at=now)
    key.set_value("sk-0123456789ab")
    assert (key.resting_until, key.last_used_at) == (None, None)


async def test_keys_that_all_rest_are_used_all_the_same(user, provider, turn):
    def rest() -> int:
        key = ProviderKey(provider=provider)
        key.set_value("sk-0123456789ab")
        key.resting_until = timezone.now() + timedelta(minutes=1)
        key.save()
        return len(catalogue.route("test", ACCESS).keys)

    assert await in_database(rest) == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("openai", "OpenAI"),
        ("claude", "Claude"),
        ("gemini", "Gemini"),
        ("deepseek", "DeepSeek"),
    ],
)
def test_the_shipped_providers_say_which_key_is_missing(name, label):
    defaults = {
        "label": label,
        "protocol": name,
        "default_model": "x",
    }
    Provider.objects.get_or_create(name=name, defaults=defaults)
    with pytest.raises(ChatError) as refused:
        catalogue.route(name, Access({name: ("*",)}))
    assert refused.value.text == f"{label} API key not configured"


def test_a_cost_is_exact_and_unknown_without_prices():
    route = catalogue.Route(None, (), "m", False, Decimal("0.15"), Decimal("0.60"))
    usage = Usage(1_000, 500, "provider")
    assert route.charge(usage) == Charge(Decimal("0.00045"))
    unknown = catalogue.Route(None, (), "m", False, None, Decimal(1))
    assert unknown.charge(usage) is None
