"""What each process has one of: its streams, their ends, the client for providers.

All of it belongs to the server's event loop and is created when first needed. `startup`
and `shutdown` are the server's lifespan.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from llmchat import cache, conf, log_fields, metrics, tracing
from llmchat.answers.checkpoints import Checkpoints
from llmchat.answers.ends import STORE_S, Ends
from llmchat.answers.live_stream import LiveStream
from llmchat.answers.mirrors import Mirrors
from llmchat.answers.owner import Owner
from llmchat.answers.refusals import KeyRefusals
from llmchat.answers.streams import Streams
from llmchat.books import day_totals
from llmchat.books.sweep import sweep
from llmchat.books.workers import worker_id
from llmchat.books.writer import Books
from llmchat.database import in_database
from llmchat.errors import ChatError, refusal
from llmchat.providers.client import ProviderClient
from llmchat.providers.local import LocalModel
from llmchat.providers.types import Timeouts
from llmchat.workers import Presence, open_mailbox

logger = logging.getLogger(__name__)

# When a client that was refused because the server is stopping may try again.
DRAINING_RETRY_S = 5
_SHUTDOWN_S = 10.0
# How long answers that were cut off have to store and send their ends. An end that the
# database does not take in time is sent all the same.
_CUT_OFF_S = STORE_S + 1.0
# How often this process looks for the answers of processes that have died.
SWEEP_S = 30.0
# The notice to all workers that names the answers to cancel.
CANCEL = "answers.cancel"


class Runtime:
    """The shared parts of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        tracing.start()
        self.loop = loop
        self.client = ProviderClient(timeouts())
        self.local_model = LocalModel()
        self.streams = Streams()
        self.books = Books()
        self.ends = Ends(self.books)
        self.refusals = KeyRefusals(self.books, self.spawn)
        self.checkpoints = Checkpoints(self.streams, self.books)
        self.mailbox = open_mailbox(worker_id(), is_away=cache.is_away())
        # Answers of other workers, and the readers of this one's answers on other
        # workers.
        self.mirrors = Mirrors(self.mailbox)
        self.owner = Owner(self.mailbox, self.streams) if self.mailbox else None
        self.presence = Presence(self.mailbox) if self.mailbox else None
        if self.mailbox is not None:
            cache.on_failover.append(self._reconnect_soon)
        self._hearing: dict[str, Callable[[Any], None]] = {}
        self.on(CANCEL, self._cancel)
        self.closing = False
        self._tasks: set[asyncio.Task[Any]] = set()
        # Adding up a day can take long, and a sweep must not wait for that.
        self._background = [
            loop.create_task(self._repeat(work)) for work in (_sweep, _keep_totals)
        ]

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start work that outlives its request; `close` waits for it."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def on(self, name: str, hear: Callable[[Any], None]) -> None:
        """Call `hear(body)` for each notice of this name that workers are sent."""

        async def heard(sender: str, body: Any) -> None:
            hear(body)

        self._hearing[name] = hear
        if self.mailbox is not None:
            self.mailbox.on(name, heard)

    def tell(self, name: str, body: Any) -> None:
        """Send a notice to all workers, this one first; others might miss it."""
        if name in self._hearing:
            self._hearing[name](body)
        if self.mailbox is not None and not self.closing:
            self.mailbox.tell_everybody(name, body)

    def _reconnect_soon(self) -> None:
        """Have the mailbox follow a failover of Redis; callable from any thread."""
        with suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._reconnect)

    def _reconnect(self) -> None:
        if self.mailbox is not None:
            self.spawn(self.mailbox.reconnect())

    def _cancel(self, message_ids: Collection[str]) -> None:
        for stream in self.streams.running():
            if stream.begun is not None and str(stream.begun.message_id) in message_ids:
                stream.cancel()

    def written(self) -> frozenset[UUID]:
        """Return the answers that this process is writing or has yet to store."""
        begun = (stream.begun for stream in self.streams.running())
        live = {turn.message_id for turn in begun if turn is not None}
        return self.ends.waiting() | live

    async def _repeat(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do some work on the books every `SWEEP_S`, also for other processes.

        The first round is immediate, because not every server announces its start.
        """
        log_fields.begin()
        while True:
            await asyncio.shield(self.spawn(work()))
            await asyncio.sleep(SWEEP_S)

    async def drain(self, hurry: asyncio.Event) -> None:
        """Begin no more turns; let running answers end, then cut off the rest.

        They have `LLMCHAT_DRAIN_S` to end, or until `hurry` is set.
        """
        self.closing = True
        self.mirrors.begin_to_close()
        running = self.streams.running()
        if not running:
            return
        logger.info("stopping; answers still being written: %d", len(running))
        ended = self.loop.create_task(_all_ended(running))
        hurried = self.loop.create_task(hurry.wait())
        await asyncio.wait(
            [ended, hurried],
            timeout=conf.get().drain_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        for stream in running:
            stream.interrupt(_cut_off())
        await asyncio.wait([ended], timeout=_CUT_OFF_S)
        for task in (ended, hurried):
            task.cancel()

    async def close(self) -> None:
        """Cut off what is still streaming, store its end, and release everything."""
        self.closing = True
        for task in self._background:
            task.cancel()
        running = self.streams.running()
        for stream in running:
            stream.interrupt(_cut_off())
        ends = [self.loop.create_task(stream.ended.wait()) for stream in running]
        waits = [*ends, *self._tasks]
        if waits:
            _, late = await asyncio.wait(waits, timeout=_SHUTDOWN_S)
            for wait in late:
                wait.cancel()
        await self.checkpoints.close()
        await self.ends.close()
        await self.books.close()
        await self.client.aclose()
        await self.local_model.stop()
        self.mirrors.close()
        if self.owner is not None:
            await self.owner.close()
        if self.mailbox is not None and self.presence is not None:
            cache.on_failover.remove(self._reconnect_soon)
            await self.presence.leave()
            await self.mailbox.close()
        await tracing.stop()


def _cut_off() -> ChatError:
    text = "The server is restarting, so the answer was cut off"
    return refusal("draining", text=text, retry_after=DRAINING_RETRY_S)


async def _all_ended(running: Collection[LiveStream]) -> None:
    for stream in running:
        await stream.ended.wait()


_runtime: Runtime | None = None


def get() -> Runtime:
    """Return the running event loop's shared parts."""
    global _runtime
    loop = asyncio.get_running_loop()
    if _runtime is None or _runtime.loop is not loop:
        _runtime = Runtime(loop)
    return _runtime


def _count_running() -> int:
    return 0 if _runtime is None else len(_runtime.streams.running())


def _count_followed() -> int:
    return 0 if _runtime is None else len(_runtime.mirrors)


def _count_connections() -> int | None:
    return 0 if _runtime is None else _runtime.client.connections_in_use


def _count_tasks() -> int:
    if _runtime is None or _runtime.loop.is_closed():
        return 0
    return len(asyncio.all_tasks(_runtime.loop))


metrics.gauges.streams = _count_running
metrics.gauges.connections = _count_connections
metrics.gauges.tasks = _count_tasks
metrics.gauges.followed = _count_followed


def is_closing() -> bool:
    """Return whether this process was told to stop; create no runtime."""
    return _runtime is not None and _runtime.closing


def timeouts() -> Timeouts:
    """Return the limits on a provider, from the settings as they are now."""
    values = conf.get()
    return Timeouts(
        connect_s=values.connect_timeout_s,
        first_token_s=values.first_token_timeout_s,
        idle_s=values.idle_timeout_s,
        total_s=values.total_timeout_s,
    )


def cancel_soon(message_ids: Collection[UUID]) -> None:
    """Cancel answers, whichever worker writes them; can be called from any thread.

    A worker that does not get the notice finds out at its next checkpoint.
    """
    if message_ids:
        tell_soon(CANCEL, [str(ident) for ident in message_ids])


def tell_soon(name: str, body: Any) -> None:
    """Send a notice to all workers, from any thread; do nothing outside a server."""
    current = _runtime
    if current is not None and not current.loop.is_closed():
        current.loop.call_soon_threadsafe(current.tell, name, body)


async def startup() -> None:
    """Called when the server starts: close the books of processes that died."""
    await _sweep()
    get()


async def _sweep() -> None:
    written: frozenset[UUID] = frozenset()
    try:
        if _runtime is not None and _runtime.loop is asyncio.get_running_loop():
            await _runtime.checkpoints.store()
            written = _runtime.written()
        interrupted = await in_database(partial(sweep, written=written))
    except (DatabaseError, InterfaceError) as exc:
        logger.warning(
            "cannot look for dead processes, the database is not available: %s", exc
        )
    else:
        if interrupted:
            logger.info("answers marked as interrupted by a crash: %d", interrupted)


async def _keep_totals() -> None:
    """Keep the totals of days, step by step until there is nothing more to do."""
    try:
        while not is_closing() and await in_database(day_totals.keep_some, _goes_on):
            pass
    except (DatabaseError, InterfaceError) as exc:
        logger.warning(
            "cannot update the daily totals, the database is not available: %s", exc
        )


def _goes_on() -> bool:
    return not is_closing()


async def drain(hurry: asyncio.Event) -> None:
    """Called as soon as the server is told to stop; set `hurry` to end it sooner."""
    await get().drain(hurry)


async def shutdown() -> None:
    """Called when the server stops, and at the end of every test's event loop."""
    global _runtime
    if _runtime is not None and _runtime.loop is asyncio.get_running_loop():
        await _runtime.close()
        _runtime = None
