"""Readers that join an answer in its middle, and leave it: nothing is lost."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.test import AsyncClient
from rest_framework_simplejwt.tokens import AccessToken

from accounts.models import User as UserModel
from accounts.verified import Verified
from llmchat.answers import live_stream, log, runtime
from llmchat.answers.answer import find_stream, start_answer
from llmchat.answers.follower import Follower
from llmchat.answers.stopping import delete
from llmchat.api.async_view import follow
from llmchat.api.namespace import ChatNamespace
from llmchat.api.visitors import Visitor
from llmchat.books.placed import latest_answers
from llmchat.books.turn import Turn
from llmchat.database import in_database
from llmchat.errors import refusal
from llmchat.models import Conversation, Message
from llmchat.providers.types import ChatMessage, Finished, FinishReason, Options, Usage
from llmchat.realtime.offsets import Marks
from tests.support.api_keys import page_of
from tests.support.chat_fixtures import User, broken_database, events_of, until

START, TOKEN = "llm:stream:start", "llm:stream:token"
ENDS = {"llm:stream:done", "llm:stream:error", "llm:stream:cancelled"}
ATTACHES = 240
ANSWERS = 6
PIECES = 300


class Client:
    """A socket and what its client receives; with `lag` it is often not writable."""

    def __init__(self, user: UserModel, *, lag: random.Random | None = None) -> None:
        self.data = Visitor(Verified(user.pk, time.time() + 60))
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.acks: list[dict[str, Any]] = []
        self.is_closed = False
        self.is_absent = False
        self.marks = Marks()
        self.may_go_on: asyncio.Event | None = None
        self.on_token: Callable[[int], None] = lambda number: None
        self._lag = lag
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def writable(self) -> bool:
        if self.may_go_on is not None:
            return self.may_go_on.is_set()
        return self._lag is None or self._lag.random() < 0.5

    async def drain(self) -> None:
        if self.may_go_on is not None:
            await self.may_go_on.wait()
        await asyncio.sleep(0)

    def spawn(self, work: Any, *, moves: bool = False) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        return task

    def close_transport(self) -> None:
        self.is_closed = True

    def emit(self, name: str, data: dict[str, Any]) -> None:
        self.events.append((name, data))

    def prepare(self, name: str) -> str:
        return f'"{name}":'

    def emit_prepared(
        self, prepared: str, *arguments: str, marks: Sequence[str] = ()
    ) -> None:
        for one in arguments:
            self.events += json.loads(f"{{{prepared}{one}}}").items()
            self.on_token(len(self.tokens))

    @property
    def tokens(self) -> list[str]:
        return [data["token"] for name, data in self.events if name == TOKEN]

    @property
    def ends(self) -> list[tuple[str, dict[str, Any]]]:
        return [event for event in self.events if event[0] in ENDS]

    def heard(self) -> dict[str, Any]:
        """Return the one end; check that exactly the whole text precedes it."""
        [ack] = self.acks
        ended = ack.get("ended")
        told = [(ended["event"], ended["data"])] if ended else []
        [(name, end)] = told + self.ends
        assert name == "llm:stream:done"
        assert ack["text"] + "".join(self.tokens) == end["fullResponse"]
        assert not ended or self.events == []
        assert ended or self.events[-1][0] == name
        return end

    async def ask(self, session_id: str = "s-1") -> None:
        data = {
            "sessionId": session_id,
            "provider": "test",
            "messages": [{"role": "user", "content": "Hi"}],
        }
        await ChatNamespace().chat_stream(self, data, ack=None)

    async def attach(self, **names: Any) -> dict[str, Any] | None:
        """Attach, and return the ack if it arrives immediately."""
        await ChatNamespace().attach(self, names, ack=self.acks.append)
        return self.acks[-1] if self.acks else None

    async def leave(self) -> None:
        await ChatNamespace().on_forget(self)


async def has_ended(client: Client) -> None:
    async def check() -> bool:
        return bool(client.ends)

    await until(check)


async def first_token(client: Client) -> None:
    async def check() -> bool:
        return bool(client.tokens)

    await until(check)


class Attaching:
    """Lets clients attach to an answer when its owner receives certain tokens."""

    def __init__(self, user: UserModel, name: str, luck: random.Random) -> None:
        self.owner = Client(user)
        self.owner.on_token = self._on_token
        self.clients: list[Client] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.lag: random.Random | None = None
        self._user, self._name, self._luck = user, name, luck
        self._places = sorted(luck.choices(range(1, PIECES), k=ATTACHES // ANSWERS))

    def _on_token(self, seen: int) -> None:
        while self._places and self._places[0] <= seen:
            self._places.pop(0)
            self.clients.append(client := Client(self._user, lag=self.lag))
            work = self._attach(client, self._luck.randrange(4))
            self.tasks.append(asyncio.create_task(work))

    async def _attach(self, client: Client, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await client.attach(sessionId=self._name)


@pytest.mark.parametrize("lags", [False, True], ids=["swift", "lagging"])
async def test_whoever_attaches_at_any_token_gets_the_whole_answer(
    user, provider, upstream, monkeypatch, lags
):
    luck = random.Random(f"attach {lags}")
    pieces = [f"{number}-{'ü🙂x'[number % 3]} " for number in range(PIECES)]

    async def answer(*args, **kwargs):
        for piece in pieces:
            yield [piece]
            if luck.random() < 0.5:
                await asyncio.sleep(0)
        yield Finished(FinishReason.STOP, Usage(7, 3, "provider"))

    monkeypatch.setattr(runtime.get().client, "stream_chat_batches", answer)
    in_the_middle = 0
    for number in range(ANSWERS):
        attaching = Attaching(user, f"s-{number}", luck)
        attaching.lag = luck if lags else None
        await attaching.owner.ask(f"s-{number}")
        (stream,) = runtime.get().streams.running()
        await stream.ended.wait()
        await asyncio.gather(*attaching.tasks)
        assert len(attaching.clients) == ATTACHES // ANSWERS
        assert attaching.owner.tokens == pieces
        for client in attaching.clients:
            assert client.heard()["fullResponse"] == "".join(pieces)
            in_the_middle += bool(client.acks[0]["text"] and client.tokens)
    assert in_the_middle > 0.8 * ATTACHES


class SlowStart:
    """Makes the start of an answer take until `go` after it is stored."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stored, self.go = asyncio.Event(), asyncio.Event()
        self.message_id = ""
        books = runtime.get().books
        self._begin = books.begin
        monkeypatch.setattr(books, "begin", self._begin_slowly)

    async def _begin_slowly(self, *args: Any) -> Any:
        begun = await self._begin(*args)
        self.message_id = str(begun.message_id)
        self.stored.set()
        await self.go.wait()
        return begun

    async def has_readers(self, count: int, asked: asyncio.Task[Any]) -> None:
        """Wait until this many have joined the answer, or the request has failed."""
        [stream] = runtime.get().streams.running()

        async def check() -> bool:
            return stream.joined == count or asked.done()

        await until(check)


@pytest.mark.parametrize("by", ["conversationId", "messageId"])
async def test_an_answer_is_found_in_the_instant_of_its_start(
    user, provider, upstream, turn, monkeypatch, by
):
    """It is stored, but its worker does not know that yet."""
    upstream.steps = ("Hel", "lo")
    before = (await events_of(user, turn("Hi")))[0]
    slow = SlowStart(monkeypatch)
    again = turn("And?", session_id="s-2", conversation_id=before.conversation_id)
    stream = runtime.get().streams.register(user.pk, "s-2", None)
    start_answer(again, stream)
    await slow.stored.wait()
    names = {
        "conversationId": str(before.conversation_id),
        "messageId": slow.message_id,
    }
    client = Client(user)
    assert await client.attach(**{by: names[by]}) is None
    slow.go.set()
    await has_ended(client)
    assert client.acks[0]["messageId"] == slow.message_id
    assert client.heard()["fullResponse"] == "Hello"


async def test_an_answer_is_followed_by_its_address_in_the_instant_of_its_start(
    user, provider, upstream, monkeypatch
):
    upstream.steps = ("Hel", "lo")
    slow = SlowStart(monkeypatch)
    owner = Client(user)
    await owner.ask()
    await slow.stored.wait()

    following = asyncio.create_task(
        AsyncClient().get(
            f"/llm/streams/{slow.message_id}",
            headers={"authorization": f"Bearer {AccessToken.for_user(user)}"},
        )
    )
    await slow.has_readers(2, following)
    slow.go.set()
    events = await parsed(await following)

    assert (events[0][0], events[0][1]["messageId"]) == (START, slow.message_id)
    assert events[-1][1]["fullResponse"] == "Hello"


async def test_an_answer_is_cancelled_by_its_address_in_the_instant_of_its_start(
    user, provider, upstream, monkeypatch
):
    upstream.steps = ("Hel", asyncio.Event())
    slow = SlowStart(monkeypatch)
    owner = Client(user)
    await owner.ask()
    await slow.stored.wait()

    work = page_of(user)("DELETE", f"/llm/streams/{slow.message_id}")
    cancelling = asyncio.create_task(work)
    await slow.has_readers(2, cancelling)
    slow.go.set()
    status, told = await cancelling

    assert (status, told["messageId"]) == (200, slow.message_id)
    assert [name for name, _ in owner.ends] == ["llm:stream:cancelled"]


async def test_a_socket_that_attaches_to_what_it_hears_hears_it_once(
    user, provider, upstream
):
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    client = Client(user)
    await client.ask()
    await first_token(client)
    ack = await client.attach(sessionId="s-1")
    go.set()
    await has_ended(client)
    assert (ack["ok"], ack["text"]) == (True, "Hel")
    assert client.tokens == ["Hel", "lo"]
    assert len(client.ends) == 1


async def test_an_answer_that_is_being_stored_is_attached_to_when_it_has_begun(
    user, provider, upstream
):
    owner, client, again = Client(user), Client(user), Client(user)
    await owner.ask()
    assert await client.attach(sessionId="s-1") is None
    assert await owner.attach(sessionId="s-1") is None
    await has_ended(client)
    assert client.heard()["fullResponse"] == "Hello"
    assert START not in [name for name, _ in client.events]
    assert [ack["text"] for ack in owner.acks] == [""]
    assert again.acks == []


async def test_an_answer_that_is_refused_is_not_found(user, provider, upstream):
    user.is_active = False
    await in_database(user.save)
    owner, client = Client(user), Client(user)
    await owner.ask()
    assert await client.attach(sessionId="s-1") is None
    await has_ended(owner)
    assert owner.ends[0][1]["code"] == "token_invalid"
    assert [ack["code"] for ack in client.acks] == ["stream_not_found"]
    assert client.events == []


@pytest.mark.parametrize("name", ["messageId", "sessionId", "conversationId"])
async def test_an_answer_is_found_by_each_of_its_names(user, provider, upstream, name):
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    owner, client, late = Client(user), Client(user), Client(user)
    await owner.ask()
    await first_token(owner)
    start = owner.events[0][1]
    ack = await client.attach(**{name: start[name]})
    go.set()
    await has_ended(client)
    ended = await late.attach(**{name: start[name]})
    start.pop("timestamp")
    assert ack == {"ok": True, **start, "text": "Hel"}
    assert late.heard()["fullResponse"] == "Hello"
    assert ended["ended"]["event"] == "llm:stream:done"
    assert ended["messageId"] == start["messageId"]


async def refused(user: UserModel, start: dict[str, Any]) -> list[bool]:
    """Return, for each name of an answer, whether attaching by it is refused."""
    acks = [
        await Client(user).attach(**{name: start[name]})
        for name in ("messageId", "sessionId", "conversationId")
    ]
    assert all(ack["ok"] or ack["code"] == "stream_not_found" for ack in acks)
    return [not ack["ok"] for ack in acks]


async def test_an_ended_answer_is_gone_with_its_conversation(user, provider, upstream):
    owner = Client(user)
    await owner.ask()
    await has_ended(owner)
    start = owner.events[0][1]
    assert not any(await refused(user, start))
    with broken_database("SELECT"):  # nothing can say whether it is gone
        assert not any(await refused(user, start))
    await in_database(delete, Conversation.objects.all())
    assert all(await refused(user, start))


async def test_an_answer_whose_question_is_replaced_is_gone(
    user, provider, upstream, turn
):
    first = (await events_of(user, turn("Hi")))[0]
    asked = turn(
        "Hi?",
        session_id="s-2",
        conversation_id=first.conversation_id,
        replaces=first.question_id,
    )
    second = (await events_of(user, asked))[0]
    names = ("messageId", "sessionId", "conversationId")
    old, new = (
        dict(zip(names, named(start), strict=True)) for start in (first, second)
    )
    assert await refused(user, old) == [True, True, False]
    assert await refused(user, new) == [False, False, False]
    ack = await Client(user).attach(conversationId=old["conversationId"])
    assert ack["messageId"] == new["messageId"]
    rows = await in_database(latest_answers, user.pk)
    assert rows == [second.message_id]


def named(start: Any) -> tuple[str, str, str]:
    return str(start.message_id), start.session_id, str(start.conversation_id)


@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
async def test_nobody_attaches_to_the_answer_of_another(
    user, provider, upstream, ended
):
    other = await in_database(User.objects.create_user, "bob")
    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    owner, stranger = Client(user), Client(other)
    await owner.ask()
    await first_token(owner)
    if ended:
        go.set()
        await has_ended(owner)
    for name in ("messageId", "sessionId", "conversationId"):
        ack = await stranger.attach(**{name: owner.events[0][1][name]})
        assert (ack["ok"], ack["code"]) == (False, "stream_not_found")
    assert stranger.events == []
    go.set()
    await has_ended(owner)


@pytest.mark.parametrize(
    "names", [{}, {"messageId": "x"}, {"sessionId": 1}, {"sessionId": None}]
)
async def test_what_names_no_answer_is_a_bad_request(user, provider, names):
    client = Client(user)
    assert (await client.attach(**names))["code"] == "bad_request"
    assert client.events == []


async def test_an_ended_answer_is_forgotten_after_the_recovery_window(
    user, provider, upstream, turn, settings
):
    await events_of(user, turn("Hi"))
    assert (await Client(user).attach(sessionId="s-1"))["text"] == "Hello"
    settings.LLMCHAT = settings.LLMCHAT | {"recovery_window_s": 0.001}
    await asyncio.sleep(0.002)
    ack = await Client(user).attach(sessionId="s-1")
    assert ack["code"] == "stream_not_found"


async def test_what_is_kept_of_ended_answers_is_bounded(
    user, provider, upstream, turn, monkeypatch
):
    monkeypatch.setattr("llmchat.answers.streams.MAX_ENDED_BYTES", 300)
    for number in range(3):
        await events_of(user, turn("Hi", session_id=f"s-{number}"))
    acks = [await Client(user).attach(sessionId=f"s-{n}") for n in range(3)]
    assert [ack["ok"] for ack in acks] == [False, True, True]


async def test_calls_of_tools_count_in_what_is_kept_of_ended_answers(
    user, provider, upstream, turn, monkeypatch
):
    function = {"name": "look", "arguments": json.dumps({"at": "x" * 200})}
    call = {"index": 0, "id": "a", "function": function}
    upstream.steps = ({"choices": [{"delta": {"tool_calls": [call]}}]},)
    upstream.reason = "tool_calls"
    options = Options(tools=({"type": "function", "function": {"name": "look"}},))
    monkeypatch.setattr("llmchat.answers.streams.MAX_ENDED_BYTES", 300)
    for number in range(2):
        await events_of(user, turn("Hi", session_id=f"s-{number}", options=options))
    acks = [await Client(user).attach(sessionId=f"s-{n}") for n in range(2)]
    assert [ack["ok"] for ack in acks] == [False, True]


async def test_an_answer_goes_on_until_its_last_reader_has_left(
    user, provider, upstream
):
    upstream.steps = ("Hel", go := asyncio.Event(), "lo", asyncio.Event())
    owner, second = Client(user), Client(user)
    await owner.ask()
    await first_token(owner)
    await second.attach(sessionId="s-1")
    (stream,) = runtime.get().streams.running()
    await owner.leave()
    go.set()
    await first_token(second)
    assert not stream.cancelled
    await second.leave()
    await stream.ended.wait()
    async with asyncio.timeout(20):
        await upstream.hung_up.wait()
    rows = Message.objects.filter(role="assistant").values_list("state", "content")
    assert await in_database(lambda: list(rows)) == [("cancelled", "Hello")]
    assert owner.ends == []


async def test_the_reader_that_began_an_answer_sets_its_pace(
    user, provider, upstream, monkeypatch
):
    """If it reads nothing, the provider is held up; other readers cannot do that."""
    monkeypatch.setattr(log, "MAX_BEHIND_CHARS", 8)
    monkeypatch.setattr("llmchat.answers.follower.MAX_BEHIND_CHARS", 8)
    upstream.steps = [f"{number:03}" for number in range(100)]
    owner = Client(user)
    await owner.ask()
    (stream,) = runtime.get().streams.running()
    slow = Follower(stream)
    await has_ended(owner)
    assert await slow.read() == ["".join(upstream.steps)]
    assert await slow.read() == []

    upstream.answered.clear()
    paced = register(user)
    first, second = Follower(paced), Follower(paced)
    start(paced)
    await first.started()

    async def is_held() -> bool:
        return paced.lags

    await until(is_held)
    held = len(paced.parts)
    assert await second.read()
    await upstream.answered.wait()
    assert len(paced.parts) == held < 10
    await first.leave()
    while await second.read():
        pass
    assert len(paced.parts) == 100
    await second.leave()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_reader_whose_client_is_away_holds_up_nobody_else(
    user, provider, upstream, monkeypatch, when
):
    monkeypatch.setattr("llmchat.answers.log.MAX_BEHIND_CHARS", 8)
    upstream.steps = [f"{number:03}" for number in range(100)]
    owner, second = Client(user), Client(user)
    owner.may_go_on = asyncio.Event()
    await owner.ask()
    if when == "before":
        await second.attach(sessionId="s-1")
    (stream,) = runtime.get().streams.running()

    async def is_held() -> bool:
        return stream.lags

    await until(is_held)
    # There is no other reader, or the owner's client is still there to set the pace.
    assert len(stream.parts) < 10
    owner.is_absent = True
    await ChatNamespace().on_disconnect(owner, "transport close")
    assert stream.lags == (when == "after")
    if when == "after":
        await second.attach(sessionId="s-1")
    await has_ended(second)
    owner.may_go_on.set()
    await has_ended(owner)
    for client in (owner, second):
        [(_, end)] = client.ends
        assert end["fullResponse"] == "".join(upstream.steps)
    assert "".join(owner.tokens) == second.heard()["fullResponse"]


async def test_whoever_cancels_and_attaches_hears_of_one_end(user, provider, upstream):
    upstream.steps = ("Hel", asyncio.Event())
    owner, other = Client(user), Client(user)
    await owner.ask()
    await first_token(owner)
    for _ in range(2):
        await ChatNamespace().cancel(other, {"sessionId": "s-1"}, ack=other.acks.append)
        await ChatNamespace().attach(other, {"sessionId": "s-1"}, ack=other.acks.append)

    async def is_acknowledged() -> bool:
        return len(other.acks) == 4

    await until(is_acknowledged)
    for client in (owner, other):
        [(name, data)] = client.ends
        assert (name, data["partialResponse"]) == ("llm:stream:cancelled", "Hel")
    assert other.tokens == []
    assert [ack.get("text") for ack in other.acks] == ["Hel", "Hel", None, None]
    assert all(ack["ok"] for ack in other.acks)


async def test_an_interrupted_answer_ends_alike_for_all(user, provider, upstream):
    upstream.steps = ("Hel", asyncio.Event())
    owner, other = Client(user), Client(user)
    await owner.ask()
    await first_token(owner)
    (stream,) = runtime.get().streams.running()
    stream.interrupt(refusal("draining"))
    await ChatNamespace().cancel(other, {"sessionId": "s-1"}, ack=None)
    await has_ended(other)
    assert [client.ends[0][1]["code"] for client in (owner, other)] == ["draining"] * 2


async def test_too_many_readers_are_turned_away(user, provider, upstream, monkeypatch):
    monkeypatch.setattr(log, "MAX_READERS", 2)
    upstream.steps = ("Hel", go := asyncio.Event())
    owner, second, third = Client(user), Client(user), Client(user)
    await owner.ask()
    await first_token(owner)
    assert (await second.attach(sessionId="s-1"))["ok"]
    assert (await third.attach(sessionId="s-1"))["code"] == "too_many_streams"
    go.set()
    await has_ended(second)


async def test_what_too_many_read_is_cancelled_over_rest_all_the_same(
    user, provider, upstream, monkeypatch
):
    monkeypatch.setattr(log, "MAX_READERS", 1)
    upstream.steps = ("Hel", asyncio.Event())
    owner = Client(user)
    await owner.ask()
    await first_token(owner)
    ident = owner.events[0][1]["messageId"]

    followed = await page_of(user)("GET", f"/llm/streams/{ident}")
    status, told = await page_of(user)("DELETE", f"/llm/streams/{ident}")

    assert (followed[0], followed[1]["code"]) == (429, "too_many_streams")
    assert (status, told["messageId"]) == (200, ident)
    assert owner.ends[0][0] == "llm:stream:cancelled"


def register(user: UserModel) -> live_stream.LiveStream:
    return runtime.get().streams.register(user.pk, "s-paced", None)


def start(stream: live_stream.LiveStream) -> None:
    turn = Turn(stream.session_id, "test", (ChatMessage("user", "Hi"),))
    start_answer(turn, stream)


async def parsed(response: Any) -> list[tuple[str, dict[str, Any], str]]:
    """Return the names, the data and the ids of server-sent events."""
    body = b"".join([chunk async for chunk in response]).decode()
    events = []
    for block in body.removeprefix(":\n\n").split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        events.append((fields["event"], json.loads(fields["data"]), fields["id"]))
    return events


async def test_server_sent_events_go_on_behind_any_id(user, provider, upstream):
    upstream.steps = [f"{number} " for number in range(100)]
    owner = Client(user)
    await owner.ask()
    stream = await find_stream(user.pk, session_id="s-1")
    whole = await parsed(
        await follow(Follower(stream), await Follower(stream).started())
    )
    assert [name for name, _, _ in whole[:: len(whole) - 1]] == [
        START,
        "llm:stream:done",
    ]
    text, chars = "".join(upstream.steps), 0
    for _, data, ident in whole[1:-1]:
        chars += len(data["token"])
        assert int(ident) == chars
    # Another worker has the text in other pieces, so any position may end one.
    for at in range(len(text) + 1):
        rest = await parsed(await follow(Follower(stream, at), None))
        tokens = [data["token"] for _, data, _ in rest[:-1]]
        assert text[:at] + "".join(tokens) == text
        assert rest[-1][0] == "llm:stream:done"
        assert rest[-1][2] == "end"


async def test_a_response_that_nobody_reads_leaves_the_answer(user, provider, upstream):
    upstream.steps = ("Hel", asyncio.Event())
    stream = register(user)
    follower = Follower(stream)
    start(stream)
    response = await follow(follower, await follower.started())
    await upstream.received.wait()
    del response
    async with asyncio.timeout(20):
        await stream.ended.wait()


async def test_who_takes_no_answer_is_told_that_attaching_needs_one(user, provider):
    client = Client(user)
    await ChatNamespace().attach(client, {"sessionId": "s-1"}, ack=None)
    [(name, data)] = client.events
    assert (name, data["code"]) == ("llm:stream:error", "bad_request")
    assert data["sessionId"] is None
