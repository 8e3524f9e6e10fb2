"""Server-sent events that are silent for long get comments."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from config import asgi
from serving import heartbeat
from serving.heartbeat import Heartbeat

COMMENT = b":\n\n"
LIMIT_S = 10.0


class Client:
    """What a client receives of one response."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.has_comment = asyncio.Event()
        self.is_sending = False

    async def send(self, message: Any) -> None:
        assert not self.is_sending, "two messages at once"
        self.is_sending = True
        await asyncio.sleep(0)
        self.is_sending = False
        self.bodies.append(message.get("body", b""))
        if self.bodies[-1] == COMMENT:
            self.has_comment.set()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.05)


def body(text: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": text, "more_body": more}


def start(kind: bytes) -> dict[str, Any]:
    headers = [(b"Content-Type", kind)]
    return {"type": "http.response.start", "status": 200, "headers": headers}


async def receive() -> Any:
    raise AssertionError("nobody asks")


async def answer(client: Client, kind: bytes, work: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send(start(kind))
        await send(body(b"first"))
        await work(send)

    async with asyncio.timeout(LIMIT_S):
        await Heartbeat(application)({}, receive, client.send)


async def test_a_silent_stream_carries_comments_between_its_events() -> None:
    client = Client()

    async def work(send: Any) -> None:
        await client.has_comment.wait()
        await send(body(b"second"))
        await send(body(b"", more=False))

    await answer(client, b"text/event-stream", work)

    assert [b for b in client.bodies if b != COMMENT] == [b"", b"first", b"second", b""]
    assert client.bodies.index(COMMENT) == 2
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_nothing_else_does() -> None:
    client = Client()

    async def work(send: Any) -> None:
        await asyncio.sleep(3 * heartbeat.EVERY_S)
        await send(body(b"", more=False))

    await answer(client, b"application/json", work)

    assert COMMENT not in client.bodies


async def test_no_comment_comes_behind_the_end_or_an_error() -> None:
    client = Client()

    async def ended(send: Any) -> None:
        await send(body(b"", more=False))
        await asyncio.sleep(3 * heartbeat.EVERY_S)

    async def failed(send: Any) -> None:
        raise LookupError

    await answer(client, b"text/event-stream; charset=utf-8", ended)
    with pytest.raises(LookupError):
        await answer(client, b"text/event-stream", failed)
    await asyncio.sleep(3 * heartbeat.EVERY_S)

    assert COMMENT not in client.bodies


async def test_an_error_of_the_connection_is_the_applications() -> None:
    """A comment that cannot be sent ends only the comments."""

    class Lost(Client):
        async def send(self, message: Any) -> None:
            await super().send(message)
            if message.get("body") == COMMENT:
                raise OSError("lost")

    client = Lost()

    async def work(send: Any) -> None:
        await client.has_comment.wait()
        await asyncio.sleep(3 * heartbeat.EVERY_S)
        await send(body(b"", more=False))

    await answer(client, b"text/event-stream", work)

    assert client.bodies.count(COMMENT) == 1


def test_the_chat_has_it() -> None:
    assert isinstance(asgi.chat._application, Heartbeat)
