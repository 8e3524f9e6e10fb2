"""Following answers that another worker writes: no text is lost, and one end comes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from channels.layers import InMemoryChannelLayer

from llmchat.access.accounts import Notice
from llmchat.answers import log, mirror, owner, runtime
from llmchat.answers.answer import start_answer
from llmchat.answers.events import Cancelled, Done, End, Failed, Started
from llmchat.answers.follower import Follower
from llmchat.answers.letters import pack_end, unpack_end
from llmchat.answers.live_stream import LiveStream
from llmchat.answers.mirror import Mirror
from llmchat.answers.mirrors import FOLLOWING, Mirrors
from llmchat.answers.owner import Owner, RemoteReader
from llmchat.api.listening import wait_for_end
from llmchat.books.placed import AnswerIds
from llmchat.books.workers import worker_id
from llmchat.database import in_database
from llmchat.errors import ChatError, refusal
from llmchat.models import Conversation, Message
from llmchat.providers.types import Finished, FinishReason, ToolCall, Usage
from llmchat.workers import Mailbox, address_of, route
from tests.api.test_attach import Client
from tests.support.chat_fixtures import User, broken_database, until

HERE, THERE = address_of("here"), address_of(worker_id())
ATTACHES = 60
PIECES = 200


class Layer(InMemoryChannelLayer):  # type: ignore[misc]
    """Delivers at most once, as Redis does; counts what is sent."""

    def __init__(self) -> None:
        super().__init__(capacity=100_000)
        self.loss = 0.0
        self.dice = random.Random(3)
        self.sent = 0
        self.is_down = False

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        if self.is_down:
            raise ConnectionError("down")
        self.sent += 1
        if self.dice.random() >= self.loss:
            await super().send(channel, message)


@dataclass
class Workers:
    """This process, which writes the answers, and another one that follows them."""

    layer: Layer
    there: Mailbox
    owner: Owner
    here: Mailbox
    mirrors: Mirrors

    async def find(self, user: Any, **names: Any) -> Mirror:
        found = await self.mirrors.find(user.pk, AnswerIds(**names))
        assert isinstance(found, Mirror)
        return found


@pytest.fixture
async def workers(provider: Any) -> AsyncIterator[Workers]:
    layer = Layer()
    there, here = Mailbox(layer, THERE), Mailbox(layer, HERE)
    made = Workers(
        layer, there, Owner(there, runtime.get().streams), here, Mirrors(here)
    )
    there.start()
    here.start()
    yield made
    made.mirrors.close()
    await made.owner.close()
    await here.close()
    await there.close()


@asynccontextmanager
async def answering(
    user: Any, turn: Any, session_id: str = "s-1"
) -> AsyncIterator[tuple[LiveStream, Follower]]:
    """Run a turn, with its first reader."""
    stream = runtime.get().streams.register(user.pk, session_id, None)
    reader = Follower(stream)
    start_answer(turn("Hi", session_id=session_id), stream)
    await reader.started()
    yield stream, reader
    await reader.leave()


async def heard(reader: Follower) -> tuple[str, End]:
    """Return all the text that a reader gets, and the end."""
    texts: list[str] = []
    async with asyncio.timeout(60):
        while some := await reader.read():
            texts += some
        return "".join(texts), await reader.ended()


async def read(reader: Follower, text: str) -> None:
    """Read until this text has arrived."""
    seen = ""
    async with asyncio.timeout(60):
        while seen != text:
            seen += "".join(await reader.read())


@pytest.fixture
def gated(upstream: Any) -> asyncio.Event:
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    return go


@pytest.mark.parametrize("loss", [0.0, 0.1], ids=["safe", "lossy"])
async def test_whoever_attaches_at_any_moment_gets_the_whole_answer(
    user, workers, turn, monkeypatch, loss
):
    workers.layer.loss = loss
    luck = random.Random(f"mirror {loss}")
    pieces = [f"{number}-{'ü🙂x'[number % 3]} " for number in range(PIECES)]

    async def answer(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        for piece in pieces:
            yield [piece]
            await asyncio.sleep(luck.uniform(0, 0.01))
        usage = Usage(7, 3, "provider", 1, 2)
        yield Finished(FinishReason.STOP, usage, tool_calls=(ToolCall("a", "b", "{}"),))

    monkeypatch.setattr(runtime.get().client, "stream_chat_batches", answer)
    starts: list[str] = []

    async def attach() -> tuple[str, End]:
        await asyncio.sleep(luck.uniform(0, 0.9))
        found = await workers.find(user, session_id="s-1")
        starts.append(text := found.text)
        rest, end = await heard(Follower(found, found.chars))
        return text + rest, end

    monkeypatch.setattr(log, "MAX_READERS", 2 * ATTACHES)
    async with answering(user, turn) as (_stream, reader):
        attaching = asyncio.gather(*(attach() for _ in range(ATTACHES)))
        text, end = await heard(reader)
        assert text == "".join(pieces)
        for its_text, its_end in await attaching:
            assert its_text == text
            assert its_end == end
    assert isinstance(end, Done)
    # They began at several moments; on a machine that stalls, most begin together.
    assert len(set(starts)) > 1
    assert (len(workers.mirrors), len(workers.owner)) == (0, 0)


async def test_whoever_reads_a_mirror_reads_every_character_once(
    user, workers, turn, upstream
):
    upstream.steps = gates = [asyncio.Event() for _ in range(9)]
    upstream.steps = [step for n, gate in enumerate(gates) for step in (gate, f"{n} ")]
    async with answering(user, turn):
        found = await workers.find(user, session_id="s-1")
        first = Follower(found)
        readers = []
        for gate in gates:
            gate.set()
            await asyncio.wait_for(first.read(), 20)
            readers.append((found.text, Follower(found, found.chars)))
            readers.append(("", Follower(found)))
        wholes = [(text, await heard(reader)) for text, reader in readers]
    assert {text + rest for text, (rest, _) in wholes} == {"0 1 2 3 4 5 6 7 8 "}
    assert len({text for text, _ in wholes}) > len(gates)


async def test_text_that_flows_costs_few_messages(user, workers, turn, monkeypatch):
    async def answer(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        for _ in range(200):
            yield ["x"]
            await asyncio.sleep(0.005)
        yield Finished(FinishReason.STOP, Usage(7, 3, "provider"))

    monkeypatch.setattr(runtime.get().client, "stream_chat_batches", answer)
    async with answering(user, turn):
        found = await workers.find(user, session_id="s-1")
        sent, loop = workers.layer.sent, asyncio.get_running_loop()
        began = loop.time()
        await heard(Follower(found))
    # If each piece were sent by itself, there would be 400 or more. A busy machine
    # takes longer, and so sends more replies.
    replies = 1 + (loop.time() - began) / owner.GATHER_S
    assert workers.layer.sent - sent < 20 + 4 * replies


@pytest.mark.parametrize("name", ["message_id", "session_id", "conversation_id"])
async def test_an_answer_is_found_by_each_of_its_names(
    user, workers, turn, gated, name
):
    other = await in_database(User.objects.create_user, "bob")
    async with answering(user, turn) as (stream, reader):
        await read(reader, "Hel")
        names = {name: getattr(stream.started, name)}
        assert await workers.mirrors.find(other.pk, AnswerIds(**names)) is None
        found = await workers.find(user, **names)
        assert (found.text, found.started) == ("Hel", stream.started)
        gated.set()
        await asyncio.gather(heard(reader), found.ended.wait())
        late = await workers.find(user, **names)
        assert (late.text, late.end) == ("Hello", stream.end)
        assert await workers.mirrors.find(other.pk, AnswerIds(**names)) is None
    assert await workers.mirrors.find(user.pk, AnswerIds(session_id="s-2")) is None


async def test_what_runs_comes_before_what_this_worker_has_ended(
    user, workers, turn, gated
):
    known = LiveStream(user.pk, "s-1")
    async with answering(user, turn) as (stream, _):
        found = await workers.mirrors.find(user.pk, AnswerIds(session_id="s-1"), known)
        assert isinstance(found, Mirror)
        assert found.started == stream.started
        gated.set()
        await heard(Follower(found))


async def test_what_has_ended_here_is_there_as_long_as_nobody_says_that_it_is_not(
    user, workers
):
    known, ids = LiveStream(user.pk, "s-9"), AnswerIds(session_id="s-9")
    with broken_database("SELECT"):
        assert await workers.mirrors.find(user.pk, ids, known) is known
    assert await workers.mirrors.find(user.pk, ids, known) is None


async def test_the_oldest_answer_is_listed_first(user, workers, turn, gated):
    async with (
        answering(user, turn) as (first, _),
        answering(user, turn, "s-2") as (second, _),
    ):
        listed = await workers.mirrors.running_of(user.pk)
        assert listed == [first.started, second.started]
        assert await workers.mirrors.running_of(user.pk + 1) == []
        gated.set()
        await asyncio.gather(first.ended.wait(), second.ended.wait())
    assert await workers.mirrors.running_of(user.pk) == []


async def test_a_cancel_reaches_the_owner_and_is_told_once(
    user, workers, turn, upstream
):
    upstream.steps = ("Hel", asyncio.Event())
    async with answering(user, turn) as (stream, reader):
        await read(reader, "Hel")
        found = await workers.mirrors.find_running(user.pk, "s-1")
        follower = Follower(found, found.chars)
        assert await found.stop()
        assert await heard(follower) == await heard(reader) == ("", stream.end)
        assert isinstance(stream.end, Cancelled)
        assert not await found.stop()
    assert await workers.mirrors.find_running(user.pk, "s-1") is None


async def test_a_cancel_is_stored_where_the_owner_cannot_be_asked(
    user, workers, turn, upstream
):
    upstream.steps = ("Hel", asyncio.Event())
    async with answering(user, turn) as (stream, reader):
        await read(reader, "Hel")
        found = await workers.find(user, session_id="s-1")
        follower = Follower(found, found.chars)
        workers.layer.is_down = True
        assert await found.stop()
        _, end = await heard(follower)
        # As it is stored, together with its usage.
        assert isinstance(end, Cancelled)
        assert end.partial == "Hel"
        assert await heard(reader) == ("", stream.end)


async def test_the_last_reader_that_leaves_here_cancels_there(
    user, workers, turn, upstream, monkeypatch
):
    # Rule out that the owner asks which mirrors still follow, and finds out that way.
    monkeypatch.setattr(owner, "GRACE_S", 3600.0)
    upstream.steps = ("Hel", asyncio.Event())
    async with answering(user, turn) as (stream, reader):
        await read(reader, "Hel")
        found = await workers.find(user, session_id="s-1")
        readers = [Follower(found) for _ in range(2)]
        await reader.leave()
        await readers[0].leave()
        await asyncio.sleep(0.1)
        assert not stream.cancelled
        await readers[1].leave()
        async with asyncio.timeout(20):
            await stream.ended.wait()
    assert isinstance(stream.end, Cancelled)
    assert len(workers.owner) == 0


@pytest.mark.parametrize("is_away", [False, True], ids=["dead", "away"])
async def test_the_place_of_a_worker_is_kept_until_it_is_known_to_be_dead(
    user, workers, turn, upstream, monkeypatch, settings, is_away
):
    monkeypatch.setattr(owner, "GRACE_S", 0.2)
    settings.LLMCHAT = settings.LLMCHAT | {"recovery_window_s": 1.0}
    upstream.steps = ("Hel", go := asyncio.Event(), "lo", asyncio.Event())
    async with answering(user, turn) as (stream, reader):
        await read(reader, "Hel")
        found = await workers.find(user, session_id="s-1")
        follower = Follower(found)
        await reader.leave()
        if is_away:
            workers.layer.is_down = True
            await asyncio.sleep(3)
            workers.layer.is_down = False
            go.set()
            await read(follower, "Hello")
            assert not stream.cancelled
            await follower.leave()
        else:
            workers.mirrors.close()
            await workers.here.close()
        async with asyncio.timeout(6):
            await stream.ended.wait()
    assert isinstance(stream.end, Cancelled)


async def test_a_mirror_that_asks_while_it_is_asked_after_is_not_asked_more_often(
    user, workers, turn, gated, monkeypatch
):
    monkeypatch.setattr(owner, "GRACE_S", 0.2)
    answers = asyncio.Event()
    asked = 0

    async def is_following(sender: str, number: Any) -> bool:
        nonlocal asked
        asked += 1
        await answers.wait()
        return True

    workers.here.on(FOLLOWING, is_following)
    async with answering(user, turn) as (stream, reader):
        await read(reader, "Hel")
        body = {"user": user.pk, "message": str(stream.started.message_id)}
        body |= {"session": "s-1", "mirror": 7, "at": 0}
        for _ in range(6):
            assert (await workers.here.ask(THERE, mirror.FOLLOW, body))["texts"]
            before = asked
            answers.clear()
            async with asyncio.timeout(20):
                while asked == before:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await workers.here.ask(THERE, mirror.FOLLOW, body)
            answers.set()
        asked = 0
        await asyncio.sleep(1.5)
        async with asyncio.timeout(20):
            while asked < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert asked <= 10
        gated.set()


async def test_a_mirror_that_nobody_reads_is_given_up(
    user, workers, turn, gated, monkeypatch
):
    monkeypatch.setattr(mirror, "UNUSED_S", 0.1)
    async with answering(user, turn) as (_stream, reader):
        await workers.find(user, session_id="s-1")

        async def is_given_up() -> bool:
            return len(workers.mirrors) == len(workers.owner) == 0

        await until(is_given_up)
        gated.set()
        assert (await heard(reader))[0] == "Hello"


async def test_an_owner_that_cannot_be_asked_is_followed_in_the_database(
    user, workers, turn, upstream
):
    upstream.steps = ("Hel", go := asyncio.Event(), "lo", end := asyncio.Event(), "!")
    async with answering(user, turn) as (stream, reader):
        await read(reader, "Hel")
        found = await workers.find(user, session_id="s-1")
        follower = Follower(found)
        workers.layer.is_down = True
        go.set()
        # From what its checkpoints store.
        await read(follower, "Hello")
        end.set()
        assert (await heard(reader))[0] == "lo!"
        text, its_end = await heard(follower)
    assert text == "!"
    assert isinstance(its_end, Done)
    assert (its_end.text, its_end.usage) == ("Hello!", stream.end.usage)
    assert its_end.cost == stream.end.cost


async def lose(stream: LiveStream) -> None:
    """Make an answer belong to a process that is not running any more."""
    place = worker_id().split("/", 1)[0]
    rows = Message.objects.filter(pk=stream.started.message_id)
    await in_database(lambda: rows.update(worker=f"{place}/1/0"))


async def test_an_answer_of_a_dead_worker_is_interrupted(
    user, workers, turn, gated, monkeypatch
):
    async with answering(user, turn) as (stream, reader):
        await read(reader, "Hel")
        found = await workers.find(user, session_id="s-1")
        follower = Follower(found)
        await runtime.get().checkpoints.store()
        await lose(stream)
        await workers.there.close()
        text, end = await heard(follower)
        assert isinstance(end, Failed)
        assert (text, end.partial, end.error.code) == ("Hel", "Hel", "interrupted")
        assert end.message_id == stream.started.message_id
        # A reader that joins now gets the end immediately.
        monkeypatch.setattr(route, "GONE_S", 3600.0)  # else it would be waited for
        async with asyncio.timeout(20):
            late = await workers.find(user, session_id="s-1")
        assert (late.text, late.end.error.code) == ("Hel", "interrupted")
        gated.set()


async def test_whoever_was_told_more_than_a_dead_worker_has_stored_gets_the_end(
    user, workers, turn, gated
):
    async with answering(user, turn) as (stream, reader):
        await read(reader, "Hel")
        await lose(stream)
        await workers.there.close()
        found = await workers.find(user, message_id=stream.started.message_id)
        assert isinstance(found.end, Failed)
        assert found.end.error.code == "interrupted"
        assert await found.reaches(99)
        gated.set()


async def test_an_answer_that_is_deleted_ends_where_its_owner_is_gone(
    user, workers, turn, gated
):
    async with answering(user, turn) as (_stream, reader):
        await read(reader, "Hel")
        follower = Follower(await workers.find(user, session_id="s-1"))
        await workers.there.close()
        await in_database(Conversation.objects.all().delete)
        text, end = await heard(follower)
        assert isinstance(end, Cancelled)
        assert (text, end.partial) == ("Hel", "Hel")
        gated.set()


async def test_an_answer_of_which_nothing_is_heard_is_given_up(
    user, workers, turn, gated, monkeypatch
):
    monkeypatch.setattr(mirror, "GIVE_UP_S", 0.5)
    async with answering(user, turn) as (_stream, reader):
        await read(reader, "Hel")
        follower = Follower(await workers.find(user, session_id="s-1"))
        await workers.there.close()
        text, end = await heard(follower)
        assert isinstance(end, Failed)
        assert (text, end.error.code) == ("Hel", "interrupted")
        gated.set()


async def test_a_slow_reader_here_holds_the_provider_there(
    user, workers, turn, upstream, monkeypatch
):
    monkeypatch.setattr(log, "MAX_BEHIND_CHARS", 8)
    upstream.steps = [f"{number:03}" for number in range(100)]
    gate = asyncio.Event()
    upstream.steps.insert(0, gate)
    async with answering(user, turn) as (stream, reader):
        found = await workers.find(user, session_id="s-1")
        slow = Follower(found)
        await reader.leave()
        gate.set()

        async def is_held() -> bool:
            return stream.lags and found.lags

        await until(is_held)
        held = stream.chars
        await asyncio.sleep(0.3)
        assert stream.chars == held < 100
        # A reader that attaches there and reads is not held up by it.
        swift = Follower(stream)
        assert (await heard(swift))[0] == "".join(upstream.steps[1:])
        assert (await heard(slow))[0] == "".join(upstream.steps[1:])


@dataclass
class HeldUp:
    """An answer whose first reader on another worker takes nothing."""

    stream: LiveStream
    found: Mirror
    frozen: Follower
    whole: str


@pytest.fixture
async def held_up(
    user: Any, workers: Workers, turn: Any, upstream: Any, monkeypatch: Any
) -> AsyncIterator[HeldUp]:
    monkeypatch.setattr(log, "MAX_BEHIND_CHARS", 8)
    gate, texts = asyncio.Event(), [f"{number:03}" for number in range(100)]
    upstream.steps = [gate, *texts]
    async with answering(user, turn) as (stream, reader):
        found = await workers.find(user, session_id="s-1")
        held = HeldUp(stream, found, Follower(found), "".join(texts))
        await reader.leave()
        gate.set()

        async def is_held() -> bool:
            return stream.lags and found.lags

        await until(is_held)
        yield held


async def test_a_cancel_is_told_though_the_first_reader_here_takes_nothing(held_up):
    cancelling = Follower(held_up.found, held_up.found.chars)
    assert await held_up.found.stop()
    _, end = await heard(cancelling)
    assert isinstance(end, Cancelled)
    stream = held_up.stream
    assert await heard(held_up.frozen) == (stream.text, stream.end)


async def test_whoever_only_listens_hears_of_a_cancel_there_all_the_same(held_up):
    """The answer is cancelled by its own worker, or through a third one."""
    listening = Follower(held_up.found, held_up.found.chars)
    assert held_up.stream.cancel()
    _, end = await heard(listening)
    assert isinstance(end, Cancelled)
    stream = held_up.stream
    assert await heard(held_up.frozen) == (stream.text, stream.end)


async def cancel_too_late(user: Any, found: Mirror) -> None:
    assert not await found.stop()


async def wait_for_it(user: Any, found: Mirror) -> None:
    async with asyncio.timeout(20):
        await wait_for_end(Client(user), found)  # type: ignore[arg-type]


@pytest.mark.parametrize("wait", [cancel_too_late, wait_for_it])
async def test_whoever_waits_for_the_end_waits_for_no_reader(user, held_up, wait):
    listening = Follower(held_up.found)
    held_up.stream.ending = True  # it cannot be cancelled any more
    await wait(user, held_up.found)
    text, end = await heard(listening)
    assert (text, type(end)) == (held_up.whole, Done)
    assert (await heard(held_up.frozen))[0] == held_up.whole


async def test_what_is_complete_is_read_as_fast_as_the_first_reader_here(
    user, workers, held_up
):
    # In the meantime, a reader on the owner's worker sets the pace.
    text, end = await heard(Follower(held_up.stream))
    assert (text, type(end)) == (held_up.whole, Done)
    # The reply to this ask proves that all earlier messages have arrived.
    await workers.there.ask(HERE, FOLLOWING, held_up.found.number)
    assert held_up.found.lags
    assert held_up.found.end is None
    assert await heard(held_up.frozen) == (held_up.whole, end)


async def test_an_end_behind_more_than_a_reply_takes_is_told_too(monkeypatch):
    """The end comes while an ask is open; the mirror then waits for its readers."""
    monkeypatch.setattr(owner, "MAX_CHARS", 10)
    stream, told = LiveStream(1, "s-1"), []
    far = RemoteReader(stream, HERE, lambda: told.append("cut short"))
    await far.reply(0)
    asked = asyncio.create_task(far.reply(0))
    await asyncio.sleep(0)
    assert not far.is_away
    stream.push(["0123456789" * 2])
    stream.close(Failed("s-1", refusal("internal_error")))
    assert not told
    reply = await asked
    assert (reply["more"], reply["end"], told) == (True, None, ["cut short"])
    last = await far.reply(10)
    assert (last["more"], last["end"] is None, len(told)) == (False, False, 1)


async def test_a_long_text_comes_in_parts(user, workers, turn, upstream, monkeypatch):
    monkeypatch.setattr(owner, "MAX_CHARS", 10)
    upstream.steps = ("0123456789" * 5 + "abc", go := asyncio.Event(), "def" * 9)
    async with answering(user, turn) as (_stream, reader):
        await reader.read()
        found = await workers.find(user, session_id="s-1")
        assert found.text == upstream.steps[0]
        follower = Follower(found, found.chars)
        go.set()
        assert (await heard(follower))[0] == upstream.steps[2]


async def test_a_place_that_is_not_here_yet_is_waited_for(user, workers, turn, gated):
    async with answering(user, turn) as (_stream, reader):
        await read(reader, "Hel")
        found = await workers.find(user, session_id="s-1")
        follower = Follower(found)
        assert await found.reaches(3)
        assert not await found.reaches(4)
        gated.set()
        await reader.read()
        assert await found.reaches(5)
        assert found.text == "Hello"
        assert not await found.reaches(6)
        assert (await heard(follower))[0] == "Hello"


async def test_too_many_readers_are_turned_away(
    user, workers, turn, gated, monkeypatch
):
    monkeypatch.setattr(log, "MAX_READERS", 1)
    async with answering(user, turn) as (_, reader):
        with pytest.raises(ChatError) as refused:
            await workers.find(user, session_id="s-1")
        assert refused.value.code == "too_many_streams"
        gated.set()
        await heard(reader)


async def test_what_too_many_read_is_cancelled_all_the_same(
    user, workers, turn, upstream, monkeypatch
):
    monkeypatch.setattr(log, "MAX_READERS", 1)
    upstream.steps = ("Hel", asyncio.Event())
    async with answering(user, turn) as (stream, reader):
        await read(reader, "Hel")
        found = await workers.mirrors.find_running(user.pk, "s-1")
        follower = Follower(found, found.chars)
        assert await found.stop()
        assert await heard(follower) == await heard(reader) == ("", stream.end)
        assert isinstance(stream.end, Cancelled)


async def test_an_answer_is_kept_while_the_worker_that_follows_it_stops(
    user, workers, turn, gated
):
    async with answering(user, turn) as (stream, reader):
        await read(reader, "Hel")
        follower = Follower(await workers.find(user, session_id="s-1"))
        await reader.leave()
        workers.mirrors.begin_to_close()
        await follower.leave()
        await asyncio.sleep(0.2)
        assert not stream.cancelled
        again = Follower(await workers.find(user, session_id="s-1"))
        gated.set()
        assert (await heard(again))[0] == "Hello"


STARTED = Started("s-1", "test", "m", uuid4(), uuid4(), uuid4())
PLACE = (STARTED.conversation_id, STARTED.message_id, STARTED.question_id)
USAGE = Usage(None, 3, "estimated", 1, 2, 4, 3, True)


def ends() -> Iterator[End]:
    calls = (ToolCall("a", "look", '{"at": "\ud800"}'), ToolCall("b", "look", "{}"))
    yield Done("s-1", "p", "m-2", *PLACE, "text", "stop", USAGE, calls, Decimal("0.10"))
    yield Done("s-1", "p", "m-2", *PLACE, "text", "length", USAGE)
    yield Cancelled("s-1", *PLACE, "text", USAGE, Decimal("1E-9"))
    yield Cancelled("s-1", *PLACE, "text")
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    notice = Notice("day", "tokens", Decimal("1E+2"), Decimal("81"), moment, "user")
    yield Cancelled("s-1", *PLACE, "text", notice=notice)
    error = refusal("draining", text="Words of its own", retry_after=7)
    yield Failed("s-1", error, "text", *PLACE, USAGE, Decimal(2))
    yield Failed("s-1", error)


@pytest.mark.parametrize("end", list(ends()), ids=lambda end: type(end).__name__)
def test_an_end_is_told_wholly(end: End) -> None:
    told = unpack_end(pack_end(end), STARTED, "text")
    if isinstance(end, Failed) and isinstance(told, Failed):
        assert vars(told.error) == vars(end.error)
        told = Failed(**{**_fields(told), "error": end.error})
    assert told == end


@pytest.mark.parametrize("change", [lambda told: told[:4], lambda told: [*told, 9]])
def test_an_end_is_told_to_a_worker_of_another_version(change: Any) -> None:
    end = Cancelled("s-1", *PLACE, "text", Usage(7, 3, "provider", 1))
    fields = pack_end(end)
    fields["usage"] = change(list(fields["usage"]))
    assert unpack_end(fields, STARTED, "text") == end


def _fields(end: Failed) -> dict[str, Any]:
    return {name: getattr(end, name) for name in end.__slots__}


async def test_whoever_is_too_late_to_cancel_hears_so_though_nobody_reads(
    user, workers, turn, gated
):
    async with answering(user, turn) as (stream, _reader):
        found = await workers.mirrors.find_running(user.pk, "s-1")
        stream.ending = True  # its end is being stored
        follower = Follower(found, found.chars)
        assert not await found.stop()
        await follower.leave()
        await asyncio.wait_for(found.ended.wait(), 20)
        gated.set()


async def test_whoever_leaves_does_not_end_what_another_is_about_to_read(
    user, workers, turn, gated
):
    async with answering(user, turn) as (_stream, reader):
        found = await workers.find(user, session_id="s-1")
        last = Follower(found)
        reaching = asyncio.create_task(found.reaches(5))
        await asyncio.sleep(0)
        await last.leave()
        # The text is not that long yet.
        assert not await reaching
        following = Follower(found)
        gated.set()
        assert (await heard(following))[0] == "Hello"
        await heard(reader)


async def test_who_reads_already_is_not_turned_away_by_a_full_answer(
    user, workers, turn, gated, monkeypatch
):
    monkeypatch.setattr(mirror, "AGAIN_S", 0.05)
    async with answering(user, turn) as (_stream, reader):
        await read(reader, "Hel")
        found = await workers.find(user, session_id="s-1")
        following = Follower(found)
        # The owner takes it for gone, and other readers join.
        for key in list(workers.owner._readers):
            workers.owner._take_out(key)
        monkeypatch.setattr(log, "MAX_READERS", 1)
        gated.set()
        assert (await heard(following))[0] == "Hello"
        await heard(reader)


async def test_an_answer_whose_text_grows_in_the_database_is_not_given_up(
    user, workers, turn, upstream, monkeypatch
):
    monkeypatch.setattr(mirror, "AGAIN_S", 0.05)
    monkeypatch.setattr(mirror, "GIVE_UP_S", 1.0)
    pieces = [f"{number} " for number in range(30)]

    async def answer(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        for piece in pieces:
            yield [piece]
            await runtime.get().checkpoints.store()
            await asyncio.sleep(0.2)
        yield Finished(FinishReason.STOP, Usage(7, 3, "provider"))

    monkeypatch.setattr(runtime.get().client, "stream_chat_batches", answer)
    async with answering(user, turn) as (_stream, reader):
        workers.layer.is_down = True
        found = await workers.find(user, session_id="s-1")
        text, end = await heard(Follower(found))
        assert (text, type(end)) == ("".join(pieces), Done)
        await heard(reader)
