"""What happens on SIGTERM and SIGINT: drain, then let the server stop.

On such a signal, a server closes its WebSockets and waits for its requests, and only
then informs the application. So this module handles the signal first, waits until the
running answers have ended and their clients have been notified, and then passes the
signal on to the server.
"""

from __future__ import annotations

import asyncio
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

from llmchat.answers import runtime
from llmchat.overhead import overhead
from llmchat.realtime import abort
from llmchat.routing import RealTime
from llmchat.urls import ANSWERS
from serving import garbage, master

_ANSWERS = re.compile(f"/({'|'.join(ANSWERS)})")
Handler = Callable[[int, FrameType | None], Any]

# How long clients have to fetch what is queued for them, if any answer is running and
# if none is.
_GOODBYE_S = 2.0
_IDLE_GOODBYE_S = 0.5
# How long requests have to end after their connection was aborted.
_DROP_S = 1.0


class Draining:
    """Handle the signals in the server's place, and pass them on when drained."""

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
        """Join the other workers and install the signal handlers; done only once.

        Called at the start and by each request: daphne does not announce its start, so
        its first request marks it. `has_lifespan`: the server will also announce its
        stop.
        """
        if self._is_watching:
            return
        # If this raises, the next request tries again; none is served before it works.
        self._real_time.join()
        self._is_watching = True
        self._has_lifespan = has_lifespan
        if not has_lifespan:
            garbage.settle()
        if threading.current_thread() is not threading.main_thread():
            return  # a development server: its main thread handles the signals
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                signal.signal(number, partial(self._on_signal, loop, handler))
        if master.exists():
            signal.signal(master.HURRY, partial(self._on_hurry, loop))

    @contextmanager
    def serving(self, scope: Any, send: Any) -> Iterator[None]:
        """Wrap an HTTP request, noting it if it must end before the server stops."""
        # A server with a lifespan waits for requests itself. But if a stream does not
        # end in time, it loses the stream's text, so streams are noted with it, too.
        if self._has_lifespan and not _ANSWERS.fullmatch(scope["path"]):
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

    def _on_hurry(
        self, loop: asyncio.AbstractEventLoop, number: int, frame: FrameType | None
    ) -> None:
        with suppress(RuntimeError):  # the loop is over
            loop.call_soon_threadsafe(self._hurry.set)

    def _stop(self, handler: Handler, number: int) -> None:
        if self._task is None:
            work = self._drain(handler, number)
            self._task = asyncio.get_running_loop().create_task(work)
        elif self._task.done():
            _pass_on(handler, number)
        elif number in self._signals and not master.exists():
            # The same signal again means that the sender does not want to wait. Not for
            # a worker: it may get each signal twice, from the terminal or a process
            # manager and from its master. Its master sends HURRY instead.
            self._hurry.set()
        self._signals.add(number)

    async def _drain(self, handler: Handler, number: int) -> None:
        goodbye_s = _GOODBYE_S if runtime.get().streams.running() else _IDLE_GOODBYE_S
        leaving = asyncio.get_running_loop().create_task(self._real_time.send_away())
        try:
            await runtime.drain(self._hurry)
            await self._real_time.close(goodbye_s)
            await self._requests_end(goodbye_s)
            if not self._has_lifespan:
                await runtime.shutdown()
                overhead.log()
        finally:
            leaving.cancel()
            await asyncio.wait([leaving])
            _pass_on(handler, number)

    async def _requests_end(self, timeout_s: float) -> None:
        """Wait for running requests; abort those whose clients do not read."""
        for wait_s in (timeout_s, _DROP_S):
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._idle.wait()
            for send in list(self._sends.values()):
                abort(send)


def _pass_on(handler: Handler, number: int) -> None:
    """Let the server stop, with exit status 0.

    After uvicorn has stopped, it raises the signals that it captured again, and dies of
    them. A process manager would take that for a failure.
    """
    handler(number, None)
    captured = getattr(getattr(handler, "__self__", None), "_captured_signals", None)
    if captured is not None:
        captured.clear()
