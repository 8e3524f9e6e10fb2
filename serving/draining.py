"""From the signal to stop until the server itself begins to stop.

A server that is told to stop cuts its WebSockets and waits for its requests, and tells
the application only then. So the signal is kept from it until the answers that are
being written have ended and their clients know.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

from llmchat.answers import runtime
from llmchat.realtime import abort
from llmchat.routing import RealTime
from llmchat.urls import CHAT, STREAMS

Handler = Callable[[int, FrameType | None], Any]

# How long clients may take to fetch what is there for them.
_GOODBYE_S = 2.0
_IDLE_GOODBYE_S = 0.5
# How long the requests of clients that were dropped may take to end.
_DROP_S = 1.0


class Draining:
    """Takes the signals from the server, and hands them on when all is said."""

    def __init__(self, real_time: RealTime) -> None:
        self._real_time = real_time
        self._is_watching = False
        self._has_lifespan = False
        self._signals: set[int] = set()
        self._hurry = asyncio.Event()
        self._sends: dict[object, Any] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    def watch(self, *, has_lifespan: bool = False) -> None:
        """Called when the server starts and, as not every one tells, by each request.

        `has_lifespan`: the server will say when it stops, too.
        """
        if self._is_watching:
            return
        self._is_watching = True
        self._has_lifespan = has_lifespan
        if threading.current_thread() is not threading.main_thread():
            return  # of a development server, which has the signals elsewhere
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                signal.signal(number, partial(self._on_signal, loop, handler))

    @contextmanager
    def serving(self, scope: Any, send: Any) -> Iterator[None]:
        """Called around each request; notes those whose answers are waited for."""
        # A server with a lifespan waits for requests itself, but it loses the
        # streams of those that it cannot wait for.
        streams = (f"/{CHAT}", f"/{STREAMS}")
        chats = scope["type"] == "http" and scope["path"].startswith(streams)
        if not chats and (self._has_lifespan or scope["type"] != "http"):
            yield
            return
        key = object()
        self._sends[key] = send
        self._idle.clear()
        try:
            yield
        finally:
            del self._sends[key]
            if not self._sends:
                self._idle.set()

    def _on_signal(
        self,
        loop: asyncio.AbstractEventLoop,
        handler: Handler,
        number: int,
        frame: FrameType | None,
    ) -> None:
        loop.call_soon_threadsafe(self._stop, handler, number)

    def _stop(self, handler: Handler, number: int) -> None:
        if self._task is None:
            work = self._drain(handler, number)
            self._task = asyncio.get_running_loop().create_task(work)
        elif self._task.done():
            _hand_on(handler, number)
        elif number in self._signals:
            # Of several workers each gets the terminal's signal and its parent's:
            # only the same one again comes from somebody who will not wait.
            self._hurry.set()
        self._signals.add(number)

    async def _drain(self, handler: Handler, number: int) -> None:
        goodbye_s = _GOODBYE_S if runtime.get().streams.running() else _IDLE_GOODBYE_S
        try:
            await runtime.drain(self._hurry)
            await self._real_time.close(goodbye_s)
            await self._requests_end(goodbye_s)
            if not self._has_lifespan:
                await runtime.shutdown()
        finally:
            _hand_on(handler, number)

    async def _requests_end(self, timeout_s: float) -> None:
        """Wait until what can be answered is; drop clients that take nothing."""
        for wait_s in (timeout_s, _DROP_S):
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._idle.wait()
            for send in list(self._sends.values()):
                abort(send)


def _hand_on(handler: Handler, number: int) -> None:
    """Let the server stop, with the status of one that has stopped in order.

    When uvicorn is done it raises the signals that it has captured once more, to die
    of them. A process manager would take that for a failure.
    """
    handler(number, None)
    captured = getattr(getattr(handler, "__self__", None), "_captured_signals", None)
    if captured is not None:
        captured.clear()
