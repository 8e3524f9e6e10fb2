"""Ends of answers that cannot be stored, are late, or could block one another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Lock
from uuid import UUID, uuid4

import pytest
from django.db import (
    DataError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from llmchat.access.catalogue import Route
from llmchat.answers import checkpoints, ends, runtime, stopping
from llmchat.answers.events import Done, Failed
from llmchat.books import writer
from llmchat.books.batch import Item, Result, store, store_alone
from llmchat.books.checkpoint import Checkpointed
from llmchat.books.turn import Begun, End, KeyRefusal, Outcome, Progress
from llmchat.books.writer import Books
from llmchat.database import in_database
from llmchat.errors import ChatError, refusal
from llmchat.models import (
    Budget,
    Conversation,
    Message,
    PastUse,
    ProviderKey,
    Reservation,
)
from llmchat.models.workers import texts_of
from llmchat.providers.types import Usage
from tests.support.chat_fixtures import User, broken_database, end_of, is_waiting, until
from tests.support.streaming import streaming
from tests.support.turns import begin_turn


def stored() -> list[tuple[str, str]]:
    """Return the state and text of each answer."""
    rows = Message.objects.filter(role="assistant").order_by("created_at")
    return list(rows.values_list("state", "content"))


@contextmanager
def unstorable(value: str) -> Iterator[None]:
    """Make the database refuse a value."""
    execute = CursorWrapper._execute_with_wrappers

    def fail(cursor, sql, params, many, executor):
        rows = params if many else [params or ()]
        if any(value in row for row in rows):
            raise DataError("value too long")
        return execute(cursor, sql, params, many, executor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CursorWrapper, "_execute_with_wrappers", fail)
        yield


@pytest.mark.parametrize(
    ("said", "model"),
    [
        ("m" * 200, "m" * 128),
        ("m\0od\ud800el", "model"),
        ("\0", "model-1"),
        (2**70, "model-1"),
    ],
    ids=["long", "not text", "nothing", "a number"],
)
async def test_whatever_a_provider_calls_its_model_the_answer_is_stored(
    user, provider, upstream, turn, said, model
):
    upstream.model = said
    assert (await end_of(user, turn("Hi"))).model == model
    assert await in_database(stored) == [("complete", "Hello")]


@pytest.mark.parametrize("tokens", [2**31, 2**63, 10**30])
async def test_a_count_beyond_reason_is_cut_and_the_answer_stored(
    user, provider, upstream, turn, tokens
):
    upstream.usage = {"prompt_tokens": tokens, "completion_tokens": tokens}
    assert isinstance(await end_of(user, turn("Hi")), Done)
    assert await in_database(stored) == [("complete", "Hello")]


async def test_a_refused_key_rests_whatever_else_cannot_be_stored(
    user, provider, upstream, turn, monkeypatch
):
    """The answer's text came from another key than the refused one."""

    def keys() -> list[ProviderKey]:
        for name in ("first", "second"):
            key = ProviderKey(provider=provider, name=name)
            key.set_value(f"sk-{name}-0123456789")
            key.save()
        return list(ProviderKey.objects.order_by("pk"))

    def finish() -> None:
        begun = begin_turn(user.pk, turn("Hi"))
        first = begun.route.keys[0]
        refused = {first.ident: "provider_auth"}
        outcome = Outcome(
            Message.State.COMPLETE,
            "Hello",
            Usage(1, 1, "provider"),
            "upstream-1",
            refused=refused,
        )
        refusal = KeyRefusal(first, "provider_auth", timezone.now())
        with unstorable("upstream-1"):
            _, end = store([refusal, End(begun, outcome)])
        assert isinstance(end, Outcome)
        assert end.error_code == "internal_error"

    first, second = await in_database(keys)
    await in_database(finish)
    for key in (first, second):
        await in_database(key.refresh_from_db)
    assert (first.last_error, first.last_used_at) == ("provider_auth", None)
    assert second.last_used_at is not None


@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "later"])
async def test_an_end_that_the_database_refuses_is_stored_without_the_provider_s_words(
    user, provider, upstream, turn, monkeypatch, is_late
):
    budget = await in_database(
        lambda: Budget.objects.create(user=user, period="day", unit="tokens", limit=99)
    )
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    with unstorable("upstream-1"):
        async with streaming(user, turn("Hi")) as (task, events, _stream):
            go.set()
            if is_late:
                monkeypatch.setattr(ends, "STORE_S", 0.01)
                with broken_database("UPDATE"):
                    await task
        await until(is_stored("error", "Hello"))
    assert isinstance(events[-1], Failed)
    code = "database_unavailable" if is_late else "internal_error"
    assert (events[-1].error.code, events[-1].partial) == (code, "Hello")
    await in_database(budget.refresh_from_db)
    assert budget.spent == 10
    assert not await in_database(Reservation.objects.exists)


def is_stored(state: str, text: str, code: str | None = None):
    """Return a check of the one answer, for `until`."""

    async def check() -> bool:
        rows = Message.objects.filter(role="assistant")
        row = await in_database(rows.get)
        told = (row.state, row.content, row.error_code if code else code)
        return told == (state, text, code)

    return check


async def test_an_end_that_fails_for_a_moment_is_done_all_the_same(
    user, provider, upstream, turn
):
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with streaming(user, turn("Hi")) as (task, events, _stream):
        with broken_database("UPDATE"):
            go.set()
            await asyncio.wait([task], timeout=0.2)
            assert not isinstance(events[-1], Done)
    assert isinstance(events[-1], Done)
    assert await in_database(stored) == [("complete", "Hello")]


@pytest.mark.parametrize("statement", ["UPDATE", "SELECT", "BEGIN"])
async def test_done_is_not_told_of_what_cannot_be_stored(
    user, provider, upstream, turn, monkeypatch, statement
):
    if statement == "BEGIN" and connection.vendor != "sqlite":
        pytest.skip("only SQLite is told to begin by Django")
    monkeypatch.setattr(ends, "STORE_S", 0.05)
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with streaming(user, turn("Hi")) as (task, events, _stream):
        with broken_database(statement):
            go.set()
            await task
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert (failed.error.code, failed.partial) == ("database_unavailable", "Hello")
    assert failed.error.retry_after == 5
    await until(is_stored("error", "Hello", "database_unavailable"))


async def test_a_commit_that_comes_late_is_made_to_say_what_was_told(
    user, provider, upstream, turn, slow_end, caplog
):
    """The first attempt stores a complete answer after its client was sent an error."""
    budget = await in_database(
        lambda: Budget.objects.create(user=user, period="day", unit="tokens", limit=99)
    )
    failed = await end_of(user, turn("Hi"))
    assert failed.error.code == "database_unavailable"
    # Whatever delays the database, operators must learn what clients were sent.
    assert (
        f"the end of answer {failed.message_id} was not stored in time" in caplog.text
    )
    slow_end.set()
    await until(is_stored("error", "Hello", "database_unavailable"))

    def books() -> list:
        conversation = Conversation.objects.get()
        budget.refresh_from_db()
        return [conversation.state, conversation.output_tokens, budget.spent]

    assert await in_database(books) == ["error", 3, 10]


def unknown_commit(monkeypatch, error=OperationalError) -> None:
    """Let the first end be stored, but raise an error as if it had not been."""
    store, failed = Books.end, []

    async def fail(*args: object, **fields: object) -> object:
        result = await store(*args, **fields)
        if not failed:
            failed.append(True)
            raise error("the connection is lost")
        return result

    monkeypatch.setattr(Books, "end", fail)


@pytest.mark.parametrize("deleted", [False, True], ids=["kept", "deleted"])
@pytest.mark.parametrize("interrupted", [False, True], ids=["whole", "interrupted"])
async def test_a_commit_of_unknown_outcome_settles_once(
    user, provider, upstream, turn, monkeypatch, deleted, interrupted
):
    unknown_commit(monkeypatch)
    budget = await in_database(
        lambda: Budget.objects.create(user=user, period="day", unit="tokens", limit=99)
    )
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with streaming(user, turn("Hi")) as (_task, _events, stream):
        if deleted:
            await in_database(Conversation.objects.all().delete)
        if interrupted:
            stream.interrupt(refusal("draining"))
        go.set()
    await in_database(budget.refresh_from_db)
    assert budget.spent == (2 if interrupted else 10)
    conversations = Conversation.objects.values_list("output_tokens", flat=True)
    booked = [] if deleted else [1 if interrupted else 3]
    assert await in_database(lambda: list(conversations)) == booked


async def test_a_start_of_unknown_outcome_is_refused_and_ended(
    user, provider, upstream, turn
):
    budget = await in_database(
        lambda: Budget.objects.create(user=user, period="day", unit="tokens", limit=99)
    )
    commit, failed = BaseDatabaseWrapper._commit, []

    def lose(wrapper: BaseDatabaseWrapper) -> None:
        commit(wrapper)
        if not failed and Message.objects.filter(state="streaming").exists():
            failed.append(True)
            raise OperationalError("the connection is lost")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseDatabaseWrapper, "_commit", lose)
        with pytest.raises(ChatError) as refused:
            await end_of(user, turn("Hi"))
    assert refused.value.code == "database_unavailable"
    await until(is_stored("error", "", "database_unavailable"))
    await in_database(budget.refresh_from_db)
    assert budget.spent == 0
    assert not await in_database(Reservation.objects.exists)
    assert not upstream.requests
    assert isinstance(await end_of(user, turn("Hi")), Done)


async def is_over() -> bool:
    """Return whether no end waits to be stored."""
    return not runtime.get().ends.waiting()


async def test_a_start_that_was_rolled_back_counts_as_no_answer(
    user, provider, upstream, turn
):
    """No conversation is left either, but nobody has deleted one."""
    commit, failed = BaseDatabaseWrapper._commit, []

    def lose(wrapper: BaseDatabaseWrapper) -> None:
        if not failed and Message.objects.filter(state="streaming").exists():
            failed.append(True)
            raise OperationalError("the connection is lost")
        commit(wrapper)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseDatabaseWrapper, "_commit", lose)
        with pytest.raises(ChatError) as refused:
            await end_of(user, turn("Hi"))
        assert refused.value.code == "database_unavailable"
        await until(is_over)
    assert not await in_database(Message.objects.exists)
    assert not await in_database(PastUse.objects.exists)


@pytest.mark.parametrize("error", [RuntimeError, TypeError])
async def test_a_start_that_fails_unexpectedly_is_refused_in_our_own_words(
    user, provider, upstream, turn, monkeypatch, caplog, error
):
    async def fail(*args: object) -> None:
        raise error("a secret")

    monkeypatch.setattr(Books, "begin", fail)
    with pytest.raises(ChatError) as refused:
        await end_of(user, turn("Hi"))
    assert (refused.value.code, refused.value.status) == ("internal_error", 500)
    assert "secret" not in refused.value.text
    assert "Traceback" in caplog.text


@contextmanager
def too_slow(text: str) -> Iterator[None]:
    """Make the database cancel the statement that stores an answer's text."""
    execute = CursorWrapper._execute_with_wrappers

    def fail(cursor, sql, params, many, executor):
        rows = params if many else [params or ()]
        if sql.startswith("UPDATE") and any(text in row for row in rows):
            raise OperationalError("canceling statement due to statement timeout")
        return execute(cursor, sql, params, many, executor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CursorWrapper, "_execute_with_wrappers", fail)
        yield


class Attempts:
    """What the books have tried to store, together and alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.together: list[UUID] = []
        self.alone: list[UUID] = []
        self.most_alone = self._alone_now = 0
        self._counting = Lock()
        monkeypatch.setattr(writer, "store", self._store)
        monkeypatch.setattr(writer, "store_alone", self._store_alone)

    def _store(self, items: Sequence[Item]) -> list[Result]:
        ends = [item for item in items if isinstance(item, End)]
        self.together += [end.begun.message_id for end in ends]
        return store(items)

    def _store_alone(self, item: Item) -> Result:
        assert isinstance(item, End)
        with self._counting:
            self.alone.append(item.begun.message_id)
            self._alone_now += 1
            self.most_alone = max(self.most_alone, self._alone_now)
        try:
            return store_alone(item)
        finally:
            with self._counting:
                self._alone_now -= 1

    def are_alone(self, count: int) -> Callable[[], Awaitable[bool]]:
        """Return a check, for `until`, of how often items were stored alone."""

        async def check() -> bool:
            return len(self.alone) >= count

        return check


async def test_an_end_that_keeps_failing_is_in_nobody_s_way(
    user, provider, upstream, turn, monkeypatch
):
    """Only its first attempt shares a transaction with others."""
    monkeypatch.setattr(ends, "STORE_S", 0.05)
    monkeypatch.setattr(ends, "_MAX_DELAY_S", 0.05)
    monkeypatch.setattr(checkpoints, "INTERVAL_S", 0.01)
    attempts = Attempts(monkeypatch)
    other = await in_database(User.objects.create_user, "bob")
    upstream.steps = ("poison",)
    with too_slow("poison"):
        failed = await end_of(user, turn("Hi"))
        assert isinstance(failed, Failed)
        # The other end is stored, however slowly.
        monkeypatch.setattr(ends, "STORE_S", 30)
        upstream.steps = ("Hel", go := asyncio.Event(), "lo")
        async with streaming(other, turn("Hi")) as (_task, events, _stream):
            await until(attempts.are_alone(3))
            await until(is_checkpointed)
            go.set()
        assert isinstance(events[-1], Done)
    assert attempts.together.count(failed.message_id) == 1
    assert set(attempts.alone) == {failed.message_id}
    await until(lambda: is_settled(user))
    assert await in_database(stored) == [("error", "poison"), ("complete", "Hello")]


async def is_checkpointed() -> bool:
    texts = await in_database(lambda: texts_of(Message.objects.values("pk")))
    return "Hel" in texts.values()


async def test_an_end_that_has_failed_fails_alone_beside_a_batch(user, provider, turn):
    def begin() -> list[Begun]:
        bob = User.objects.create_user("bob")
        return [begin_turn(one.pk, turn("Hi")) for one in (user, bob)]

    poison, other = await in_database(begin)
    usage = Usage(7, 3, "provider")
    outcomes = [
        Outcome(Message.State.COMPLETE, text, usage, "m")
        for text in ("poison", "Hello")
    ]
    progress = [Progress(other.message_id, 0, "Hel", None)]
    books = Books()
    with too_slow("poison"):
        failed, checkpoint, end = await asyncio.gather(
            books.end(poison, outcomes[0], again=True, has_failed=True),
            books.checkpoint(progress),
            books.end(other, outcomes[1]),
            return_exceptions=True,
        )
    assert isinstance(failed, OperationalError)
    assert isinstance(checkpoint, Checkpointed)
    assert isinstance(end, Outcome)
    assert await in_database(stored) == [("streaming", ""), ("complete", "Hello")]


async def test_while_the_database_is_down_ends_are_retried_one_at_a_time(
    user, provider, turn, monkeypatch
):
    """Each in a transaction of its own, which fails at its first statement."""
    monkeypatch.setattr(ends, "_MAX_DELAY_S", 0.05)
    monkeypatch.setattr(ends, "STORE_S", 60)
    attempts = Attempts(monkeypatch)

    def begin() -> list[Begun]:
        users = [User.objects.create_user(f"user{n}") for n in range(10)]
        return [begin_turn(one.pk, turn("Hi")) for one in users]

    begun = await in_database(begin)
    outcome = Outcome(Message.State.COMPLETE, "Hello", Usage(7, 3, "provider"), "m")
    pending = ends.Ends(Books())
    with broken_database("SELECT"):
        told = [asyncio.create_task(pending.store(one, outcome)) for one in begun]
        await until(attempts.are_alone(30))
        assert len(attempts.together) == len(begun)
    await asyncio.gather(*told)
    assert attempts.most_alone == 1
    assert await in_database(stored) == [("complete", "Hello")] * len(begun)


async def is_settled(user) -> bool:
    return await runtime.get().ends.settled(user.pk)


async def test_an_end_that_waits_when_the_server_stops_is_tried_once_more(
    user, provider, upstream, turn, monkeypatch
):
    monkeypatch.setattr(ends, "STORE_S", 0.05)
    monkeypatch.setattr(ends, "_FIRST_DELAY_S", 60)
    unknown_commit(monkeypatch, InterfaceError)
    assert isinstance(await end_of(user, turn("Hi")), Failed)
    await runtime.shutdown()
    assert await in_database(stored) == [("error", "Hello")]


async def test_an_end_that_is_given_up_when_the_server_stops_is_named_in_the_log(
    user, provider, upstream, turn, monkeypatch, caplog
):
    monkeypatch.setattr(ends, "STORE_S", 0.05)
    with broken_database("UPDATE"):
        failed = await end_of(user, turn("Hi"))
        await runtime.shutdown()
    assert f"the end of answer {failed.message_id} is lost" in caplog.text
    assert await in_database(stored) == [("streaming", "")]


async def test_an_end_beyond_a_full_queue_is_named_in_the_log(
    user, provider, upstream, turn, monkeypatch, caplog
):
    monkeypatch.setattr(ends, "STORE_S", 0.05)
    monkeypatch.setattr(ends, "MAX_PENDING", 1)
    other = await in_database(User.objects.create_user, "bob")
    with broken_database("UPDATE"):
        first = await end_of(user, turn("Hi"))
        second = await end_of(other, turn("Hi"))

        async def is_told() -> bool:
            return f"the end of answer {first.message_id} is lost" in caplog.text

        await until(is_told)  # after the first attempt at the second
    assert f"the end of answer {second.message_id} is lost" not in caplog.text


class Slow(Books):
    """Takes each end only after `go` is set, and then stores it or fails."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.is_away = False
        self.taken: dict[UUID, str] = {}

    async def end(
        self,
        begun: Begun,
        outcome: Outcome,
        again: bool = False,
        *,
        has_failed: bool = False,
    ) -> Outcome:
        await self.go.wait()
        if self.is_away:
            raise OperationalError("no connection")
        self.taken[begun.message_id] = outcome.error_code
        return outcome


def many_ends(count: int) -> list[tuple[Begun, Outcome]]:
    outcome = Outcome(Message.State.COMPLETE, "Hello", Usage(7, 3, "provider"), "m")
    places = {"conversation_id": uuid4(), "question_id": uuid4(), "thread_hash": ""}
    route = Route(None, (), "m", False, None, None)  # type: ignore[arg-type]
    return [
        (Begun(1, route, message_id=uuid4(), **places), outcome)  # type: ignore[arg-type]
        for _ in range(count)
    ]


async def test_however_many_end_at_once_none_is_lost_while_the_database_is_well(
    monkeypatch, caplog
):
    """As when a stopping server has more answers than can wait during an outage."""
    monkeypatch.setattr(ends, "MAX_PENDING", 3)
    books = Slow()
    shared = ends.Ends(books)
    told = [asyncio.create_task(shared.store(*one)) for one in many_ends(10)]
    later = many_ends(10)
    for one in later:
        shared.store_later(*one)
    await asyncio.sleep(0)
    assert len(shared.waiting()) == 20
    books.go.set()
    stored = await asyncio.gather(*told)
    assert [end.state for end in stored] == [Message.State.COMPLETE] * 10

    async def are_stored() -> bool:
        return not shared.waiting()

    await until(are_stored)
    assert "is lost" not in caplog.text


async def test_none_is_lost_for_want_of_room_in_the_books(monkeypatch, caplog):
    """The database works, but has so much to do that no new turn could begin."""
    go = asyncio.Event()

    async def take(store: object, items: list[End]) -> list[Outcome]:
        await go.wait()
        return [item.outcome for item in items]

    monkeypatch.setattr(writer, "store_in_database", take)
    monkeypatch.setattr(writer, "MAX_WAITING", 5)
    monkeypatch.setattr(ends, "MAX_PENDING", 3)
    shared = ends.Ends(Books())
    told = [asyncio.create_task(shared.store(*one)) for one in many_ends(20)]
    for _ in range(5):  # until all of them have reached the books
        await asyncio.sleep(0)
    go.set()
    stored = await asyncio.gather(*told)
    assert [end.state for end in stored] == [Message.State.COMPLETE] * 20
    assert "is lost" not in caplog.text


async def test_of_those_that_the_database_does_not_take_so_many_wait(
    monkeypatch, caplog
):
    monkeypatch.setattr(ends, "MAX_PENDING", 3)
    monkeypatch.setattr(ends, "_FIRST_DELAY_S", 60)
    books = Slow()
    books.is_away = True
    shared = ends.Ends(books)
    made = many_ends(10)
    told = [asyncio.create_task(shared.store(*one)) for one in made]
    await asyncio.sleep(0)
    books.go.set()
    # Those that are given up return immediately, and none of them as stored.
    lost = await asyncio.gather(*told[:7])
    assert {end.error_code for end in lost} == {"database_unavailable"}
    kept = {begun.message_id for begun, _ in made[7:]}
    assert shared.waiting() == kept
    books.is_away = False
    await shared.close()
    assert not shared.waiting()
    assert caplog.text.count("is lost: too many others are waiting") == 7
    await asyncio.gather(*told)


async def test_those_that_are_taken_too_late_are_none_that_failed(monkeypatch, caplog):
    """Each is stored again as its client was sent it; however many, none is lost."""
    monkeypatch.setattr(ends, "STORE_S", 0.01)
    monkeypatch.setattr(ends, "MAX_PENDING", 3)
    books = Slow()
    shared = ends.Ends(books)
    made = many_ends(10)
    told = await asyncio.gather(*(shared.store(*one) for one in made))
    assert {end.error_code for end in told} == {"database_unavailable"}
    books.go.set()

    async def are_stored() -> bool:
        return not shared.waiting()

    await until(are_stored)
    assert "is lost" not in caplog.text
    codes = {begun.message_id: "database_unavailable" for begun, _ in made}
    assert books.taken == codes


async def test_those_that_are_taken_too_late_are_stored_anew_together(
    monkeypatch, caplog
):
    """A server that stops then loses none: the books store them in batches."""
    go = asyncio.Event()
    sizes: list[int] = []
    taken: dict[UUID, str] = {}

    async def take(store: object, items: list[End]) -> list[Outcome]:
        await go.wait()
        await asyncio.sleep(0)
        sizes.append(len(items))
        taken.update((one.begun.message_id, one.outcome.error_code) for one in items)
        return [item.outcome for item in items]

    monkeypatch.setattr(writer, "store_in_database", take)
    monkeypatch.setattr(ends, "STORE_S", 0.01)
    shared = ends.Ends(Books())
    made = many_ends(3 * writer.BATCH)
    told = await asyncio.gather(*(shared.store(*one) for one in made))
    assert {end.error_code for end in told} == {"database_unavailable"}
    go.set()
    await shared.close()
    assert sizes == [writer.BATCH] * 6
    codes = {begun.message_id: "database_unavailable" for begun, _ in made}
    assert taken == codes
    assert "is lost" not in caplog.text


async def test_an_end_that_is_tried_for_too_long_is_named_in_the_log(
    user, provider, upstream, turn, monkeypatch, caplog
):
    monkeypatch.setattr(ends, "RETRY_FOR_S", 0)
    with broken_database("UPDATE"):
        failed = await end_of(user, turn("Hi"))
    assert failed.error.code == "database_unavailable"
    assert f"the end of answer {failed.message_id} is lost" in caplog.text


class Gate(Event):
    """An event that also shows whether a thread has begun to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = Event()


@pytest.fixture
def slow_end(monkeypatch) -> Iterator[Gate]:
    """Store no end until the gate is set, and let no client wait for it."""
    go = Gate()
    store = Books.end

    async def wait(*args: object, **fields: object) -> object:
        go.reached.set()
        assert await asyncio.to_thread(go.wait, 30)
        return await store(*args, **fields)

    monkeypatch.setattr(Books, "end", wait)
    monkeypatch.setattr(ends, "STORE_S", 0.05)
    yield go
    go.set()


async def test_the_next_turn_waits_for_an_end_that_is_slow_to_store(
    user, provider, upstream, turn, monkeypatch, slow_end
):
    monkeypatch.setattr(ends, "STORE_S", 30)
    first = asyncio.create_task(end_of(user, turn("Hi")))
    await asyncio.to_thread(slow_end.reached.wait, 30)
    following = turn("Hi", "Hello", "more", session_id="s-2")
    asked = asyncio.create_task(end_of(user, following))
    # If the turn began without waiting, its provider would be asked by then.
    await asyncio.wait([asked], timeout=0.2)
    assert len(upstream.requests) == 1
    slow_end.set()
    assert isinstance(await first, Done)
    assert isinstance(await asked, Done)
    assert await in_database(Conversation.objects.count) == 1


async def test_a_turn_behind_an_end_that_is_not_stored_is_refused(
    user, provider, upstream, turn, slow_end
):
    await end_of(user, turn("Hi"))
    following = turn("Hi", "Hello", "more", session_id="s-2")
    with pytest.raises(ChatError) as refused:
        await end_of(user, following)
    assert refused.value.code == "database_unavailable"
    assert len(upstream.requests) == 1


async def test_a_turn_goes_on_with_an_answer_that_was_stored_late(
    user, provider, upstream, turn, monkeypatch
):
    monkeypatch.setattr(ends, "STORE_S", 0.05)
    following = turn("Hi", "Hello", "more", session_id="s-2")
    with broken_database("UPDATE"):
        assert isinstance(await end_of(user, turn("Hi")), Failed)
    await until(lambda: is_settled(user))
    monkeypatch.setattr(ends, "STORE_S", 30)
    assert isinstance(await end_of(user, following), Done)
    assert await in_database(Conversation.objects.count) == 1


async def test_an_operator_s_stop_and_a_checkpoint_do_not_lock_each_other_up(
    user, provider, turn
):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    first, second = await in_database(two_in_the_wrong_order, user, turn)
    locked, go = Event(), Event()

    def checkpoint_slowly() -> None:
        """Lock as a checkpoint does, in the order of the keys."""
        rows = Message.objects.select_for_update()
        with transaction.atomic():
            rows.get(pk=first)
            locked.set()
            assert go.wait(30)
            rows.get(pk=second)

    checkpoint = asyncio.create_task(in_database(checkpoint_slowly))
    await asyncio.to_thread(locked.wait)
    stop = asyncio.create_task(in_database(stopping.stop, Message.objects.all()))
    await until(is_waiting)
    go.set()
    await checkpoint
    assert sorted(await stop) == [first, second]


def two_in_the_wrong_order(user, turn) -> list:
    """Make two running answers whose rows are stored in the reverse order of keys."""
    begun = [begin_turn(user.pk, turn(name, session_id=name)) for name in ("a", "b")]
    first, second = sorted(row.message_id for row in begun)
    for pk in (second, first):
        # PostgreSQL writes a changed row again, after all others.
        Message.objects.filter(pk=pk).update(finished_at=timezone.now())
    return [first, second]
