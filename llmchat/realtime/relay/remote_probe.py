"""A WebSocket that names a session of another worker, and takes it over.

The client probes the WebSocket while it polls, and then pauses its polling: at that
moment no request of the session is under way anywhere, so it can move whole. What the
client sends until it has moved waits here.

Spec: Engine.IO protocol 4, "Upgrade".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from llmchat.realtime.engineio.session import CLOSE_NORMAL
from llmchat.realtime.engineio.upgrade import PROBE_PING, PROBE_PONG, PROBE_UPGRADE
from llmchat.realtime.peer import Peer
from llmchat.realtime.tasks import Tasks
from llmchat.realtime.transports import WebSocket
from llmchat.workers import Mailbox, UnreachableError

from . import names

logger = logging.getLogger(__name__)

# A client that takes longer to upgrade goes on polling.
PROBE_S = 10.0
# What a client sends while its session moves.
MAX_WAITING_FRAMES = 1_000
MAX_WAITING_BYTES = 2 * 1024 * 1024


class RemoteProbe:
    """One WebSocket, until its session is one of this worker."""

    def __init__(
        self,
        sid: str,
        owner: str,
        mailbox: Mailbox,
        websocket: WebSocket,
        take_over: Callable[[str, object], Peer],
    ) -> None:
        self._sid = sid
        self._owner = owner
        self._mailbox = mailbox
        self._websocket = websocket
        self._take_over = take_over
        self._peer: Peer | None = None
        self._is_probed = self._is_moving = self._is_over = False
        self._is_asking = False  # a client that pings on and on has one ask at a time
        self._waiting: list[str | bytes] = []
        self._waiting_bytes = 0
        self._tasks = Tasks()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(PROBE_S, self._give_up)

    def receive(self, frame: str | bytes) -> None:
        """Take in a frame of the client's."""
        if self._peer is not None:
            self._peer.receive_frame(self._websocket, frame)
        elif self._is_moving:
            self._keep(frame)
        elif self._is_over:
            pass
        elif frame == PROBE_PING:
            if not self._is_asking:
                self._is_asking = True
                self._run(self._answer_ping())
        elif frame == PROBE_UPGRADE and self._is_probed:
            self._is_moving = True
            self._run(self._move())
        else:
            self._give_up()

    def lose(self) -> None:
        """Note that the WebSocket was lost."""
        if self._peer is not None:
            self._peer.lose_websocket(self._websocket)
        elif not self._is_over:
            self._end()
            name = names.BREAK if self._is_moving else names.PROBE_LOST
            self._mailbox.ask(self._owner, name, [self._sid])

    def _keep(self, frame: str | bytes) -> None:
        self._waiting.append(frame)
        self._waiting_bytes += len(frame)
        is_much = self._waiting_bytes > MAX_WAITING_BYTES
        if is_much or len(self._waiting) > MAX_WAITING_FRAMES:
            self._give_up()

    async def _answer_ping(self) -> None:
        may_probe = await self._ask(names.PROBE)
        self._is_asking = False
        if may_probe:
            self._is_probed = True
            await self._websocket.send_frame(PROBE_PONG)
        else:
            self._give_up()

    async def _move(self) -> None:
        state = await self._ask(names.TAKE)
        if self._is_over:
            if state is not None:
                # The client comes back for its sockets, which are here now.
                self._take_over(self._sid, state).break_off()
            return
        if state is None:
            self._give_up()
            return
        self._timer.cancel()
        self._is_moving = False
        peer = self._peer = self._take_over(self._sid, state)
        peer.adopt(self._websocket)
        for frame in self._waiting:
            peer.receive_frame(self._websocket, frame)
        self._waiting.clear()

    async def _ask(self, name: str) -> Any:
        try:
            return await self._mailbox.ask(self._owner, name, [self._sid])
        except UnreachableError:
            return None

    def _give_up(self) -> None:
        """Close the WebSocket; where the client still polls, it goes on with that."""
        if not self._is_over:
            self._end()
            self._run(self._websocket.close(CLOSE_NORMAL))
            name = names.BREAK if self._is_moving else names.PROBE_LOST
            self._mailbox.ask(self._owner, name, [self._sid])

    def _end(self) -> None:
        self._is_over = True
        self._timer.cancel()
        self._waiting.clear()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.run(_guarded(work))


async def _guarded(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except OSError:
        logger.debug("a WebSocket was lost while its session moved")
    except Exception:
        logger.exception("a session did not move")
