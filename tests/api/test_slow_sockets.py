"""Clients that read nothing for a while: what they receive when they are back.

They have missed more than is kept for a recovery with the product's own options.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from rest_framework_simplejwt.tokens import AccessToken

from accounts import remembered as memory
from accounts.tokens import user_for_token
from llmchat import conf
from llmchat.answers import runtime
from llmchat.api.namespace import ChatNamespace
from llmchat.database import in_database, read_database
from llmchat.models import Message
from llmchat.providers.errors import ProviderUnavailableError
from llmchat.providers.types import Chat, Finished, FinishReason, Usage
from llmchat.realtime import Options, Peer, Server, SocketIO, SocketIOOptions
from llmchat.realtime.replay import MAX_REPLAY_BYTES
from tests.support.chat_fixtures import User
from tests.support.peers import Wire, joined, joined_again, turns
from tests.support.wire import content_of, event

STREAMS = 30
CANCELLED, FAILED = "s-0", "s-1"
PIECE = "0123456789abcdef" * 64
PIECES = 25
ENDS = ("llm:stream:done", "llm:stream:cancelled", "llm:stream:error")
MIB = 1024 * 1024
LIMIT_S = 60.0


class Provider:
    """Answers every question with pieces, as fast as they are read."""

    def __init__(self, pieces: int) -> None:
        self._pieces = pieces
        self.read = 0
        # No answer ends until it is set, so that all of them run at the same time.
        self.may_end = asyncio.Event()

    async def answer(
        self, provider: object, keys: object, chat: Chat, **options: Any
    ) -> AsyncIterator[list[str] | Finished]:
        for _ in range(self._pieces):
            self.read += len(PIECE)
            yield [PIECE]
            await asyncio.sleep(0)
        await self.may_end.wait()
        asked = chat.messages[-1].content
        if asked == FAILED:
            raise ProviderUnavailableError
        if asked == CANCELLED:
            await asyncio.Event().wait()
        yield Finished(FinishReason.STOP, Usage(7, 3, "provider"))


@pytest.fixture
def server(upstream: object, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The product's namespace, with the product's options for connections."""
    values = dataclasses.replace(
        conf.get(), max_streams_per_user=STREAMS, messages_per_minute=0
    )
    monkeypatch.setattr(conf, "get", lambda: values)
    monkeypatch.setattr(memory, "KEPT_S", 600.0)
    window = SocketIOOptions(recovery_window_s=600)
    return Server(SocketIO([ChatNamespace()], window), Options())


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not check():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)


def has_read_nothing_more(provider: Provider) -> Callable[[], bool]:
    """Return a check whether the provider has not been read for a while."""
    seen: Counter[int] = Counter()

    def check() -> bool:
        seen[provider.read] += 1
        return seen[provider.read] > 20

    return check


async def known(user: User) -> dict[str, Any]:
    """Return what a client joins with; its token is remembered by now."""
    token = str(AccessToken.for_user(user))
    await read_database(user_for_token, token)
    return {"token": token}


async def asks_and_reads_nothing(peer: Peer, wire: Wire) -> None:
    wire.gate.clear()
    for number in range(STREAMS):
        turn = {
            "sessionId": f"s-{number}",
            "provider": "test",
            "messages": [{"role": "user", "content": f"s-{number}"}],
        }
        peer.receive_frame(wire, event("llm:chat:stream", turn))
    streams = runtime.get().streams
    started = lambda: [s for s in streams.running() if s.started is not None]  # noqa: E731
    await until(lambda: len(started()) == STREAMS)


async def test_who_has_read_nothing_hears_of_the_end_of_each_stream(
    user: User, provider: object, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Provider(PIECES)
    monkeypatch.setattr(runtime.get().client, "stream_chat_batches", short.answer)
    auth = await known(user)
    peer, wire, answer = await joined(server, auth)
    await asks_and_reads_nothing(peer, wire)
    short.may_end.set()
    peer.lose_websocket(wire)
    streams = runtime.get().streams
    await until(lambda: len(streams.running()) == 1)
    other, others, _ = await joined(server, auth)
    other.receive_frame(others, event("llm:stream:cancel", {"sessionId": CANCELLED}))
    await until(lambda: not streams.running())
    await turns()

    _, wire, again = await joined_again(server, answer, auth)

    assert again["pid"] != answer["pid"]
    assert not wire.is_closed
    told = [content_of(frame)[:2] for frame in wire.told if frame != "2"]
    assert {name for name, _ in told} == set(ENDS)
    ends = {data["sessionId"]: (name, data) for name, data in told}
    assert len(ends) == len(told) == STREAMS
    assert (ends[CANCELLED][0], ends[FAILED][0]) == (ENDS[1], ENDS[2])
    await assert_true([data for _, data in ends.values()])


async def assert_true(ends: list[dict[str, Any]]) -> None:
    """Check that each end has the text that is stored, or says that it is shortened."""
    ids = [UUID(end["messageId"]) for end in ends]
    rows = await in_database(lambda: list(Message.objects.filter(pk__in=ids)))
    stored = {str(row.pk): row.content for row in rows}
    shortened = [end for end in ends if end.get("shortened")]
    assert 0 < len(shortened) < STREAMS
    for end in ends:
        text = end.get("fullResponse", end.get("partialResponse"))
        assert stored[end["messageId"]] == PIECES * PIECE
        assert text == ("" if end in shortened else PIECES * PIECE)
    assert sum(len(json.dumps(end)) for end in ends) < MAX_REPLAY_BYTES


async def test_slow_streams_are_read_no_further_than_is_kept(
    user: User, provider: object, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the throttle all of it would be read, which takes 230 MB."""
    endless = Provider(4 * MIB // len(PIECE))
    monkeypatch.setattr(runtime.get().client, "stream_chat_batches", endless.answer)
    auth = await known(user)
    before = resident()
    peer, wire, _ = await joined(server, auth)
    await asks_and_reads_nothing(peer, wire)
    await until(has_read_nothing_more(endless))
    connected = endless.read

    peer.lose_websocket(wire)
    await until(has_read_nothing_more(endless))

    assert connected < endless.read < 2 * MIB
    assert resident() - before < 60 * MIB
    assert len(runtime.get().streams.running()) == STREAMS


def resident() -> int:
    """Return the memory of this process in bytes, 0 if no file tells."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 if statm.exists() else 0
