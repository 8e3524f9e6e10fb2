"""A turn that the test pauses in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.db.models import Model

from llmchat.answers import runtime
from llmchat.answers.events import StreamEvent, Token
from llmchat.answers.live_stream import LiveStream
from llmchat.books.turn import Turn
from tests.support.chat_fixtures import registered, stream_answer

Streaming = tuple[asyncio.Task[None], list[StreamEvent], LiveStream | None]


@asynccontextmanager
async def streaming(
    user: Model, turn: Turn, key_id: int | None = None
) -> AsyncIterator[Streaming]:
    """Run a turn up to its first token; yield its task, its events and its stream."""
    events: list[StreamEvent] = []
    token = asyncio.Event()

    async def run() -> None:
        with registered(user, turn, key_id) as stream:
            async for event in stream_answer(turn=turn, stream=stream):
                events.append(event)
                if isinstance(event, Token):
                    token.set()

    task = asyncio.create_task(run())
    waiting = asyncio.create_task(token.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    yield task, events, runtime.get().streams.find(user.pk, turn.session_id)
    await task
