"""A worker's mailbox: asks to other workers, and replies to theirs.

The channel layer may lose a message. A mailbox does not: it sends letters again until
there is a receipt, and recognizes what arrives twice, so that a handler is called once
for each ask. A worker that gives no receipts is considered gone within two seconds, and
the asks that await its replies fail. Nothing here waits for Redis longer than that.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Protocol, TypeVar

from . import failover
from .address import channel_of
from .letters import (
    ASK,
    DROP,
    FAILED,
    PING,
    RECEIPT,
    REPLY,
    Letter,
    Unpacker,
    key_of,
    pack_body,
    unpack_body,
)
from .route import GONE_S, Route

logger = logging.getLogger(__name__)

# The group that every mailbox is in.
EVERYBODY = "llmchat.workers"
# How long the layer may take for a message. Then it is lost, as if Redis were away.
PUBLISH_S = 1.0
# How soon to try again when listening to the layer fails.
_LISTEN_AGAIN_S = 1.0
# For how long a letter may arrive again.
_REMEMBER_S = 5 * GONE_S
# How many asks to one worker may be open at the same time; more of them fail.
MAX_ASKS = 10_000
# How many workers that have left, or that are gone, are remembered: the latest ones.
MAX_LEFT = 1_000
# For how long asks to a worker that was found gone fail without waiting: a dead worker
# has many clients. Each such ask probes the worker, which may only have been slow, or
# Redis may have been away.
SILENT_S = 5.0
_FORGET_ROUTE_S = 60.0

T = TypeVar("T")
Handler = Callable[[str, Any], Awaitable[Any]]


class UnreachableError(Exception):
    """A worker does not answer."""


class GoneError(UnreachableError):
    """The worker gives no receipts: it has ended, or never existed."""


class AwayError(UnreachableError):
    """The channel layer takes no messages; nothing is known about the worker."""


class FailedError(UnreachableError):
    """The worker has no reply: its handler failed, or there is none."""


class Layer(Protocol):
    """What a mailbox needs from a channel layer."""

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to one channel."""

    async def receive(self, channel: str) -> dict[str, Any]:
        """Return the next message of a channel."""

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to a group."""


class Ask(asyncio.Future[Any]):
    """The reply to an ask; cancelling it takes the ask back."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.name = name


class Mailbox:
    """One worker's letters. Every method is called on the event loop."""

    def __init__(self, layer: Layer, address: str, *, is_away: bool = False) -> None:
        self.address = address
        self._layer = layer
        self._channel = channel_of(address)
        self._loop = asyncio.get_running_loop()
        self._handlers: dict[str, Handler] = {}
        self._routes: dict[str, Route] = {}
        self._asks: dict[str, dict[int, Ask]] = {}
        self._working: dict[tuple[str, int], asyncio.Task[Any]] = {}
        self._seen: OrderedDict[tuple[str, int, int], float] = OrderedDict()
        self._unpacker = Unpacker()
        self._left: OrderedDict[str, None] = OrderedDict()
        # When workers were found gone.
        self._silent: OrderedDict[str, float] = OrderedDict()
        # Their asks that were given up at that time, and got no reply.
        self._unreplied: OrderedDict[str, list[int]] = OrderedDict()
        self._numbers = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listening: asyncio.Task[None] | None = None
        self._is_away = is_away
        # An outage that was known before is logged by whoever noticed it.
        self._is_logged_elsewhere = is_away
        self._is_listening = False
        self._is_closed = False

    def on(self, name: str, handler: Handler) -> None:
        """Let `handler(sender, body)` reply to asks of this name.

        The handler is cancelled when the ask is taken back, or its sender is gone.
        """
        self._handlers[name] = handler

    def start(self) -> None:
        """Listen until the mailbox is closed."""
        self._listening = self._loop.create_task(self._listen())

    def run(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run work as a task that ends when the mailbox is closed, at the latest."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._is_closed:
            task.cancel()
        return task

    async def close(self) -> None:
        """Stop listening; asks that await a reply fail."""
        self._is_closed = True
        for address in list(self._routes):
            self._forget(address, AwayError("the mailbox is closed"))
        tasks = [*self._tasks, *self._working.values()]
        if self._listening is not None:
            tasks.append(self._listening)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def reconnect(self) -> None:
        """Leave the Redis that the layer is connected to: it has become a standby."""
        await failover.reconnect(self._layer)

    # Asking.

    def ask(self, address: str, name: str, body: Any = None) -> Ask:
        """Ask a worker; return a future for its reply, which may take any time.

        `body` and the reply must be what msgpack takes. If there will be no reply, the
        future fails: with `GoneError` if the worker ends, `AwayError` if the layer is
        away, `FailedError` if the worker has none.

        Raises: TypeError, ValueError, OverflowError, if `body` cannot be sent.
        """
        packed = pack_body(body)
        asked = Ask(name, self._loop)
        refusal = self._refusal(address)
        if refusal is not None:
            asked.set_exception(refusal)
            asked.exception()  # so that asyncio logs nothing if it is not awaited
            return asked
        asks = self._asks.setdefault(address, {})
        self._numbers += 1
        number = self._numbers
        asks[number] = asked
        route = self._route(address)
        route.awaited += 1
        route.send((ASK, number, name, packed))
        asked.add_done_callback(partial(self._on_asked, address, number))
        return asked

    def asks(self, address: str, name: str) -> list[Ask]:
        """Return the asks of this name whose replies from a worker are awaited."""
        asks = self._asks.get(address, {}).values()
        return [asked for asked in asks if asked.name == name]

    def _refusal(self, address: str) -> UnreachableError | None:
        """Return why a worker cannot be asked; None: it can."""
        if address in self._left:
            return GoneError("the worker has left")
        if self._loop.time() - self._silent.get(address, -SILENT_S) < SILENT_S:
            self._route(address).probe()
            return GoneError("the worker did not answer a moment ago")
        if len(self._asks.get(address, ())) >= MAX_ASKS:
            return AwayError("too many requests are waiting for the worker")
        if self._route(address).is_full:
            return AwayError("too much is waiting to be sent to the worker")
        return None

    def tell_everybody(self, name: str, body: Any = None) -> asyncio.Task[bool]:
        """Send to every worker, this one included; none replies, and it may be lost.

        Return the task that sends it; its result is whether the layer has taken it.
        """
        message = {"type": "llmchat.told", "name": name, "body": body}
        return self.run(self._publish_to_all(message))

    def give_up(self, address: str) -> None:
        """Consider a worker gone, since it announced that."""
        self._left[address] = None
        _keep_last(self._left)
        self._forget(address, GoneError("the worker has left"))

    def _on_asked(self, address: str, number: int, asked: asyncio.Future[Any]) -> None:
        if not asked.cancelled():
            asked.exception()  # so that asyncio logs nothing if it is not awaited
        asks = self._asks.get(address, {})
        if asks.pop(number, None) is None:
            return
        route = self._routes.get(address)
        if route is not None:
            route.awaited -= 1
            if asked.cancelled():
                route.take_receipts([(ASK, number)])
                route.send((DROP, number))

    # Listening.

    async def _listen(self) -> None:
        while True:
            try:
                await self._join()
                self._is_listening = True
                while True:
                    self._take(await self._layer.receive(self._channel))
            except asyncio.CancelledError:
                raise
            except Exception as exc:
                self._is_listening = False
                self._note_away(exc)
            await asyncio.sleep(_LISTEN_AGAIN_S)

    async def _join(self) -> None:
        """Listen to the mailbox's own channel, and to the group of all mailboxes."""
        channels = getattr(self._layer, "channels", {})
        if not self._is_listening:
            # The layer keeps a channel that it could not listen to.
            channels.pop(self._channel, None)
        receiving = self._loop.create_task(self._layer.receive(self._channel))
        try:
            # Its first step makes the channel known, which adding to a group requires.
            await asyncio.wait([receiving], timeout=0.05)
            async with asyncio.timeout(PUBLISH_S):
                await self._layer.group_add(EVERYBODY, self._channel)
        except BaseException:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
            raise
        self._take(await receiving)

    def _take(self, message: dict[str, Any]) -> None:
        """Take in a message; one that is not from a mailbox is only logged."""
        try:
            if message.get("type") == "llmchat.told":
                self._told(message["name"], message["body"])
                return
            sender = message["from"]
            for letter in self._unpacker.take(sender, message):
                self._take_letter(sender, letter)
        except Exception:
            logger.exception("a message from another worker was not understood")

    def _told(self, name: str, body: Any) -> None:
        handler = self._handlers.get(name)
        if handler is not None:
            self.run(_guarded(name, handler, body))

    def _take_letter(self, sender: str, letter: Letter) -> None:
        route = self._route(sender)
        route.heard()
        self._silent.pop(sender, None)
        for number in self._unreplied.pop(sender, ()):
            # The worker was suspended or cut off, and still waits for these replies.
            route.send((FAILED, number))
        kind = letter[0]
        if kind == RECEIPT:
            route.take_receipts(letter[1])
            return
        if kind == DROP:
            task = self._working.get((sender, letter[1]))
            if task is not None:
                task.cancel()
            return
        route.owe_receipt(key_of(letter))
        if kind == PING or self._is_known(sender, letter):
            return
        if kind == ASK:
            self._work(sender, *letter[1:])
        elif kind == REPLY:
            self._settle(sender, letter[1], unpack_body(letter[2]))
        elif kind == FAILED:
            self._settle(sender, letter[1], FailedError("no reply"))

    def _is_known(self, sender: str, letter: Letter) -> bool:
        """Return whether the letter has arrived before."""
        now = self._loop.time()
        while self._seen and next(iter(self._seen.values())) < now - _REMEMBER_S:
            self._seen.popitem(last=False)
        key = (sender, *key_of(letter))
        is_known = key in self._seen
        self._seen.setdefault(key, now)
        return is_known

    def _settle(self, sender: str, number: int, reply: Any) -> None:
        asked = self._asks.get(sender, {}).get(number)
        if asked is None or asked.done():
            return
        if isinstance(reply, Exception):
            asked.set_exception(reply)
        else:
            asked.set_result(reply)

    # Replying.

    def _work(self, sender: str, number: int, name: str, packed: bytes) -> None:
        handler = self._handlers.get(name)
        if handler is None:
            self._route(sender).send((FAILED, number))
            return
        work = self._reply(handler, sender, number, unpack_body(packed))
        task = self._loop.create_task(work)
        self._working[sender, number] = task
        task.add_done_callback(lambda _: self._working.pop((sender, number), None))

    async def _reply(
        self, handler: Handler, sender: str, number: int, body: Any
    ) -> None:
        try:
            reply = pack_body(await handler(sender, body))
        except Exception:
            logger.exception("a request from another worker failed")
            self._route(sender).send((FAILED, number))
        else:
            self._route(sender).send((REPLY, number, reply))

    # Routes.

    def _route(self, address: str) -> Route:
        route = self._routes.get(address)
        if route is None:
            self._forget_idle()
            gone = partial(self._on_gone, address)
            route = Route(partial(self._publish, channel_of(address)), gone)
            self._routes[address] = route
        return route

    def _on_gone(self, address: str) -> None:
        error = AwayError if self._is_away else GoneError
        self._note_unreplied(address)
        if error is GoneError:
            self._silent[address] = self._loop.time()
            self._silent.move_to_end(address)
            _keep_last(self._silent)
        self._forget(address, error("the worker does not answer"))

    def _note_unreplied(self, address: str) -> None:
        """Note which asks of a worker, if it is alive after all, will get no reply."""
        working = [number for sender, number in self._working if sender == address]
        if unreplied := working + self._route(address).unreplied:
            self._unreplied.setdefault(address, []).extend(unreplied)
            _keep_last(self._unreplied)

    def _forget(self, address: str, error: UnreachableError) -> None:
        route = self._routes.pop(address, None)
        if route is not None:
            route.close()
        for asked in self._asks.pop(address, {}).values():
            if not asked.done():
                asked.set_exception(error)
        for (sender, _), task in list(self._working.items()):
            if sender == address:
                task.cancel()

    def _forget_idle(self) -> None:
        oldest = self._loop.time() - _FORGET_ROUTE_S
        for address, route in list(self._routes.items()):
            if route.is_idle and route.used_at < oldest:
                self._forget(address, GoneError("not used"))

    # The layer.

    async def _publish(self, channel: str, message: dict[str, Any]) -> None:
        message = {"type": "llmchat.mail", "from": self.address, **message}
        try:
            async with asyncio.timeout(PUBLISH_S):
                await self._layer.send(channel, message)
        except Exception as exc:
            self._note_away(exc)
            raise
        self._note_back()

    async def _publish_to_all(self, message: dict[str, Any]) -> bool:
        try:
            async with asyncio.timeout(PUBLISH_S):
                await self._layer.group_send(EVERYBODY, message)
        except Exception as exc:
            self._note_away(exc)
            return False
        self._note_back()
        return True

    def _note_away(self, reason: Exception) -> None:
        if not self._is_away:
            self._is_away = True
            text = (
                "the channel layer does not answer, other workers cannot be reached: %r"
            )
            logger.warning(text, reason)

    def _note_back(self) -> None:
        if self._is_away:
            self._is_away = False
            if not self._is_logged_elsewhere:
                logger.info("the channel layer answers again")
            self._is_logged_elsewhere = False


def _keep_last(workers: OrderedDict[str, Any]) -> None:
    while len(workers) > MAX_LEFT:
        workers.popitem(last=False)


async def _guarded(name: str, handler: Handler, body: Any) -> None:
    try:
        await handler("", body)
    except Exception:
        logger.exception("a message to all workers failed here: %s", name)
