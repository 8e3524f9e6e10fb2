"""The way to one other worker: what waits to be sent, and what has not arrived.

The channel layer delivers at most once. So a letter is sent again until its receipt
arrives; if none arrives for `GONE_S`, the worker is considered gone. Letters that wait
at the same time go in one message, if they are short.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from itertools import count
from typing import Any

from .letters import (
    FAILED,
    PING,
    RECEIPT,
    REPLY,
    WANT_RECEIPTS,
    Key,
    Letter,
    key_of,
    pack,
    size_of,
)

# How long a worker may give no receipt before it is considered gone.
GONE_S = 1.6
# After how long a letter without a receipt is sent again.
RESEND_S = 0.4
# How often a worker that owes a reply is asked whether it is still alive.
PING_S = 0.3
# How long receipts, which are not urgent, wait for more to go with.
GATHER_S = 0.05
_LETTERS_AT_ONCE = 500
# The size of a message, unless it has only one letter: none of its letters gets a
# receipt before all of it has arrived.
_BYTES_AT_ONCE = 1024 * 1024
# The size of all letters without a receipt; beyond it there is no room for more asks.
MAX_BYTES = 64 * 1024 * 1024

# Numbers this worker's messages, so that no part is mistaken for another message's.
_messages = count(1)

Publish = Callable[[dict[str, Any]], Awaitable[None]]


class _Sent:
    """A letter that has no receipt yet.

    It `is_waiting` to be published, or was published at the time `last`.
    """

    __slots__ = ("first", "is_waiting", "last", "letter")

    def __init__(self, letter: Letter, now: float) -> None:
        self.letter = letter
        self.first = self.last = now
        self.is_waiting = True


class Route:
    """What one mailbox has on its way to another."""

    def __init__(self, publish: Publish, on_gone: Callable[[], None]) -> None:
        """`publish` may raise or take long; `on_gone`: no receipt arrives any more."""
        self._publish = publish
        self._on_gone = on_gone
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Letter] = deque()
        self._receipts: list[Key] = []
        self._sent: dict[Key, _Sent] = {}
        self._bytes = 0
        self._pings = 0
        self._heard_at = self._looked_at = self._loop.time()
        self._flushing: asyncio.TimerHandle | None = None
        self._flush_at = 0.0
        self._sending: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        # How many replies of the worker are awaited: while any are, it is watched.
        self.awaited = 0
        self.used_at = self._heard_at

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is on the way, and nothing is awaited."""
        return not (self._sent or self._waiting or self._receipts or self.awaited)

    @property
    def is_full(self) -> bool:
        """Return whether there is no room for letters that can be refused: asks."""
        return self._bytes >= MAX_BYTES

    @property
    def unreplied(self) -> list[int]:
        """Return the numbers of the asks whose reply may not have arrived."""
        return [number for kind, number in self._sent if kind in (REPLY, FAILED)]

    def send(self, letter: Letter) -> None:
        """Send a letter, together with whatever else waits now."""
        self._waiting.append(letter)
        self.used_at = self._loop.time()
        if letter[0] in WANT_RECEIPTS:
            if not self._sent:
                self._heard_at = self.used_at
            self._forget(key_of(letter))
            self._sent[key_of(letter)] = _Sent(letter, self.used_at)
            self._bytes += size_of(letter)
            self._keep_watch()
        self._flush_in(0.0)

    def probe(self) -> None:
        """Find out whether the worker is alive, unless a letter underway will tell."""
        if not self._sent:
            self._pings += 1
            self.send((PING, self._pings))

    def owe_receipt(self, key: Key) -> None:
        """Send a receipt with the next letters."""
        self._receipts.append(key)
        self._flush_in(GATHER_S)

    def take_receipts(self, keys: list[Any]) -> None:
        """Note which letters have arrived."""
        for kind, number in keys:
            self._forget((kind, number))

    def _forget(self, key: Key) -> None:
        """Stop sending a letter, if it had no receipt yet."""
        if (sent := self._sent.pop(key, None)) is not None:
            self._bytes -= size_of(sent.letter)

    def heard(self) -> None:
        """Note that the worker is alive."""
        self._heard_at = self.used_at = self._loop.time()

    def close(self) -> None:
        """Send nothing more."""
        for handle in (self._flushing, self._watch):
            if handle is not None:
                handle.cancel()
        if self._sending is not None:
            self._sending.cancel()
        self._sent.clear()
        self._waiting.clear()
        self._bytes = 0

    # Sending.

    def _flush_in(self, delay: float) -> None:
        at = self._loop.time() + delay
        if self._flushing is not None:
            if self._flush_at <= at:
                return
            self._flushing.cancel()
        self._flush_at = at
        self._flushing = self._loop.call_later(delay, self._flush)

    def _flush(self) -> None:
        self._flushing = None
        if self._sending is None and (self._waiting or self._receipts):
            self._sending = self._loop.create_task(self._send_all())
            self._sending.add_done_callback(self._on_sent)

    def _on_sent(self, task: asyncio.Task[None]) -> None:
        self._sending = None
        if not task.cancelled():
            # The mailbox reports its failure; what was lost is sent again.
            task.exception()
            if self._waiting:
                self._flush_in(0.0)

    async def _send_all(self) -> None:
        while self._waiting or self._receipts:
            letters = self._batch()
            receipts, self._receipts = self._receipts, []
            if receipts:
                letters.append((RECEIPT, receipts))
            try:
                for message in pack(letters, next(_messages)):
                    await self._publish(message)
            finally:
                self._note_published(letters)

    def _batch(self) -> list[Letter]:
        """Take the next letters that go together, except those that have a receipt."""
        taken: list[Letter] = []
        size = 0
        while self._waiting and len(taken) < _LETTERS_AT_ONCE:
            letter = self._waiting[0]
            if letter[0] in WANT_RECEIPTS and key_of(letter) not in self._sent:
                self._waiting.popleft()
                continue
            size += size_of(letter)
            if taken and size > _BYTES_AT_ONCE:
                break
            taken.append(self._waiting.popleft())
        return taken

    def _note_published(self, letters: Iterable[Letter]) -> None:
        """Begin to wait for the receipts."""
        now = self._loop.time()
        for letter in letters:
            if letter[0] not in WANT_RECEIPTS:
                continue
            if (sent := self._sent.get(key_of(letter))) is not None:
                sent.is_waiting, sent.last = False, now

    # Watching.

    def _keep_watch(self) -> None:
        if self._watch is None:
            self._looked_at = self._loop.time()
            self._watch = self._loop.call_later(RESEND_S / 2, self._look)

    def _look(self) -> None:
        """Send again what has not arrived; find out whether the worker is alive."""
        self._watch = None
        now = self._loop.time()
        if now - self._looked_at > RESEND_S:
            # This worker itself has been busy: receipts may wait to be read.
            self._heard_at = now
        if self._sent and now - self._heard_at > GONE_S and self._oldest(now) > GONE_S:
            self._on_gone()
            return
        for sent in self._sent.values():
            if not sent.is_waiting and now - sent.last >= RESEND_S:
                sent.is_waiting = True
                self._waiting.append(sent.letter)
        if self.awaited and now - self._heard_at >= PING_S:
            self.probe()
        if self._waiting:
            self._flush_in(0.0)
        if self._sent or self.awaited:
            self._keep_watch()

    def _oldest(self, now: float) -> float:
        return now - min(sent.first for sent in self._sent.values())
