"""Turns at the event loop, so that no client's burst delays what others are sent.

A client may send ten thousand events at once. Whoever handles them does so in slices,
and waits for a turn between two of them; in each pass of the event loop few turns are
given away, more where they are short, whoever and however many wait. What a client
sends within its first slice waits for nobody, unless the pass has taken long already:
there may be a thousand clients, all of them opened by one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial

# A slice: so many messages, or fewer where they are long. About a millisecond.
MESSAGES_IN_SLICE = 16
# Of the first one, which waits for nobody.
MESSAGES_AT_ONCE = 4
BYTES_OF_MESSAGE = 4096
# So long may a pass of the event loop be for all that need not wait for a turn.
PASS_S = 0.003
# Slices in one pass: what a turn begins may run in the next one, so that its length is
# known from the passes before alone.
MOST_IN_PASS = 4
# Whoever comes or goes, or polls, takes a part of what a slice takes.
AT_THE_DOOR = 4


class Turns:
    """Calls back those who wait, some in each pass of the event loop, in order.

    As many as the passes stay short with. Whoever comes or goes waits in a queue of its
    own, which gets as much time: those who are connected wait for no crowd at the door.
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
        self._pass_ends = 0.0  # None is known
        self._pass_began = 0.0  # None but one in which somebody waits
        self._in_pass = 1

    @property
    def has_time(self) -> bool:
        """Return whether something more may be done in this pass, without a turn."""
        now = time.perf_counter()
        if not self._pass_ends:
            self._pass_ends = now + PASS_S
            self._schedule()
        return now < self._pass_ends

    @property
    def is_door_free(self) -> bool:
        """Return whether whoever comes now need not wait, and overtakes nobody."""
        return not self._at_the_door and self.has_time

    def call(self, callback: Callable[[], None], *, at_the_door: bool = False) -> None:
        """Call back when it is this one's turn."""
        (self._at_the_door if at_the_door else self._waiting).append(callback)
        self._schedule()

    async def take(self, *, at_the_door: bool = False) -> None:
        """Wait for a turn."""
        turn = self.loop.create_future()
        self.call(partial(_begin, turn), at_the_door=at_the_door)
        await turn

    async def come_or_go(self) -> None:
        """Wait at the door for a turn, only if others do or no time is left."""
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
        # First, since a call may raise.
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
        # The first slice is a short one: there may be many clients.
        self._used = MESSAGES_IN_SLICE - MESSAGES_AT_ONCE

    async def spend(self, size: int) -> None:
        """Note a message of so many bytes; wait for a turn behind a whole slice."""
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
