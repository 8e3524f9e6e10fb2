"""The stored life of a turn: checkpoints, leases, ends that come late or never."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from decimal import Decimal
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from llmchat.access import catalogue, keys
from llmchat.access.permissions import Access
from llmchat.answers import checkpoints, runtime, stopping
from llmchat.answers.events import Cancelled, Done, Failed
from llmchat.books import workers
from llmchat.books.batch import begin_turn
from llmchat.books.checkpoint import checkpoint
from llmchat.books.conversations import stored_hash
from llmchat.books.sweep import sweep
from llmchat.books.turn import Progress
from llmchat.database import in_database
from llmchat.errors import ChatError
from llmchat.models import Conversation, Message, Provider, ProviderKey
from llmchat.providers.types import Usage
from tests.support.chat_fixtures import broken_database, events_of, until
from tests.support.streaming import streaming

ACCESS = Access({"test": ("*",)})


async def the_answer() -> Message | None:
    rows = Message.objects.filter(role="assistant")
    return await in_database(rows.first)


def is_answer(state, content):
    """Return a check of the stored answer, for `until`."""

    async def check() -> bool:
        row = await the_answer()
        return (row.state, row.content) == (state, content)

    return check


async def checkpoint_of(user):
    streams = runtime.get().streams.of_user(user.pk)
    return await in_database(checkpoint, [stream.progress() for stream in streams])


async def test_a_checkpoint_stores_the_text_and_renews_the_lease(
    user, provider, upstream, turn
):
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with streaming(user, turn("Hi")):
        before = await the_answer()
        taken = await checkpoint_of(user)
        assert (len(taken.stored), taken.to_stop) == (1, frozenset())
        after = await the_answer()
        assert (after.state, after.content) == ("streaming", "Hel")
        assert after.lease_until > before.lease_until
        go.set()
    assert (await the_answer()).content == "Hello"


async def test_no_conversation_is_read_and_nothing_sorted_to_find_what_runs(
    user, provider, upstream, turn
):
    """The order that messages are shown in is that of their conversations."""

    def statements() -> list[str]:
        begun = begin_turn(user.pk, turn("Hi"))
        with CaptureQueriesContext(connection) as queries:
            checkpoint([Progress(begun.message_id, "Hel", None, 1)])
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
        async with asyncio.timeout(5):
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
        async with asyncio.timeout(5):
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
    """As after SIGCONT: its leases have run out, and the sweep comes first."""
    monkeypatch.setattr(checkpoints, "INTERVAL_S", 60)
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with streaming(user, turn("Hi")) as (_, events, _stream):
        late = timezone.now() - timedelta(minutes=5)
        rows = Message.objects.filter(state="streaming")
        await in_database(lambda: rows.update(lease_until=late))
        assert await in_database(sweep) == 0
        assert await in_database(sweep, user.pk) == 0
        await runtime._sweep()
        row = await the_answer()
        assert (row.state, row.content) == ("streaming", "Hel")
        assert row.lease_until > timezone.now()
        go.set()
    assert isinstance(events[-1], Done)


async def test_a_row_of_its_own_that_it_does_not_write_is_interrupted(
    user, provider, upstream, turn
):
    """A begin whose commit was not told leaves one."""
    late = timezone.now() - timedelta(seconds=1)
    row = await orphan(user, turn, lease_until=late)
    await runtime._sweep()
    await in_database(row.refresh_from_db)
    assert row.state == "interrupted"


async def orphan(user, turn, **changes) -> Message:
    """Leave a row behind as a process does that dies in mid-stream."""

    def make() -> Message:
        begun = begin_turn(user.pk, turn("Hi"))
        fields = {"content": "Hel", **changes}
        Message.objects.filter(pk=begun.message_id).update(**fields)
        return Message.objects.get(pk=begun.message_id)

    return await in_database(make)


async def test_a_row_whose_lease_ran_out_is_interrupted(user, provider, upstream, turn):
    row = await orphan(
        user,
        turn,
        worker="elsewhere/1/2",
        lease_until=timezone.now() - timedelta(seconds=1),
    )
    assert await in_database(sweep) == 1

    await in_database(row.refresh_from_db)
    assert (row.state, row.content) == ("interrupted", "Hel")
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
    await orphan(user, turn, worker="x/1/2", lease_until=timezone.now())
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
    assert route.cost(usage) == Decimal("0.00045")
    unknown = catalogue.Route(None, (), "m", False, None, Decimal(1))
    assert unknown.cost(usage) is None
