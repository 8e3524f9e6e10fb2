"""Turns on the event loop, so that no client's burst delays what others are sent.

A client may send ten thousand events in one burst. They are handled in slices, with a
wait for a turn between two slices. Each pass of the event loop gives only a few turns,
more if passes are short, no matter which clients wait and how many. What a client sends
within its first slice need not wait, unless the pass has taken long already: there may
be a thousand clients, all opened by the same program.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial

# Messages in a slice, fewer if they are long: about a millisecond of work.
MESSAGES_IN_SLICE = 16
# Messages in a client's first slice, which does not wait for a turn.
MESSAGES_AT_ONCE = 4
# How many bytes of a message count as another message.
BYTES_OF_MESSAGE = 4096
# How long a pass of the event loop may take before new work has to wait for a turn.
PASS_S = 0.003
# The most slices in one pass. What a turn starts may run in the next pass, so only
# earlier passes tell how long a pass will be.
MOST_IN_PASS = 4
# Turns at the door for each slice: a client that connects, disconnects or polls takes
# a fraction of a slice's time.
AT_THE_DOOR = 4


class Turns:
    """Calls waiting callbacks in order, some in each pass of the event loop.

    It calls as many as keep the passes short. Clients that connect or disconnect wait
    in a queue of their own, at the door, which gets as much time as the other: clients
    that are connected do not wait for a crowd at the door.
    """

    __slots__ = (
        "_at_the_door",
        "_in_pass",
        "_is_scheduled",
        "_pass_began",
        "_pass_ends",
        "_waiting",
        "loop",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._at_the_door: deque[Callable[[], None]] = deque()
        self._is_scheduled = False
        self._pass_ends = 0.0  # 0.0: not known
        self._pass_began = 0.0  # 0.0: nothing waited for a turn
        self._in_pass = 1

    @property
    def has_time(self) -> bool:
        """Return whether this pass has time for more work without a turn."""
        now = time.perf_counter()
        if not self._pass_ends:
            self._pass_ends = now + PASS_S
            self._schedule()
        return now < self._pass_ends

    @property
    def is_door_free(self) -> bool:
        """Return whether a client at the door need not wait, and overtakes no other."""
        return not self._at_the_door and self.has_time

    def call(self, callback: Callable[[], None], *, at_the_door: bool = False) -> None:
        """Call the callback when its turn comes."""
        (self._at_the_door if at_the_door else self._waiting).append(callback)
        self._schedule()

    async def take(self, *, at_the_door: bool = False) -> None:
        """Wait for a turn."""
        turn = self.loop.create_future()
        self.call(partial(_begin, turn), at_the_door=at_the_door)
        await turn

    async def come_or_go(self) -> None:
        """Wait at the door for a turn, but only if others do or no time is left."""
        if not self.is_door_free:
            await self.take(at_the_door=True)

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self.loop.call_soon(self._next)

    def _next(self) -> None:
        """Begin a pass."""
        self._is_scheduled = False
        self._pass_ends = 0.0
        if not self._waiting and not self._at_the_door:
            self._pass_began = 0.0
            return
        # Schedule first, since a callback may raise.
        self._schedule()
        self._adapt(time.perf_counter())
        for _ in range(self._in_pass):
            self._give(self._waiting, 1)
            self._give(self._at_the_door, AT_THE_DOOR)

    def _give(self, queue: deque[Callable[[], None]], count: int) -> None:
        for _ in range(min(count, len(queue))):
            queue.popleft()()

    def _adapt(self, now: float) -> None:
        """Give more turns after a pass that was short, fewer after a long one."""
        if self._pass_began:
            is_short = now - self._pass_began < PASS_S
            more = min(self._in_pass + 1, MOST_IN_PASS)
            self._in_pass = more if is_short else max(self._in_pass // 2, 1)
        self._pass_began = now


class Pace:
    """What one client has used of its slice."""

    __slots__ = ("_used",)

    def __init__(self) -> None:
        # The first slice is short: there may be many clients.
        self._used = MESSAGES_IN_SLICE - MESSAGES_AT_ONCE

    async def spend(self, size: int) -> None:
        """Note a message of this size; wait for a turn after a slice or a long pass."""
        self._used += 1 + size // BYTES_OF_MESSAGE
        if self._used >= MESSAGES_IN_SLICE:
            self._used = 0
        elif turns().has_time:
            return
        await turns().take()


def _begin(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


_turns: Turns | None = None


def turns() -> Turns:
    """Return the turns of the running event loop."""
    global _turns
    loop = asyncio.get_running_loop()
    if _turns is None or _turns.loop is not loop:
        _turns = Turns(loop)
    return _turns
