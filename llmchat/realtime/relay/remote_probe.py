"""A WebSocket that names a session of another worker, and takes it over.

The client probes the WebSocket while it polls, and then pauses its polling: at that
moment no request of the session is under way anywhere, so it can move whole. What the
client sends until it has moved waits here.

Spec: Engine.IO protocol 4, "Upgrade".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from llmchat.realtime.engineio.packet import Packet, PacketType, encode_frame
from llmchat.realtime.engineio.session import CLOSE_NORMAL
from llmchat.realtime.engineio.upgrade import PROBE_PING, PROBE_PONG, PROBE_UPGRADE
from llmchat.realtime.peer import Peer
from llmchat.realtime.tasks import Tasks
from llmchat.realtime.transports import WebSocket
from llmchat.workers import FailedError, Mailbox, UnreachableError

from . import names

logger = logging.getLogger(__name__)

# How much a client may send while its session moves.
MAX_WAITING_FRAMES = 1_000
MAX_WAITING_BYTES = 2 * 1024 * 1024


class RemoteProbe:
    """One WebSocket, until its session has moved to this worker."""

    def __init__(
        self,
        sid: str,
        owner: str,
        mailbox: Mailbox,
        websocket: WebSocket,
        may_take: Callable[[], bool],
        take_over: Callable[[str, object], Peer],
    ) -> None:
        self._sid = sid
        self._owner = owner
        self._mailbox = mailbox
        self._websocket = websocket
        self._may_take = may_take
        self._take_over = take_over
        self._peer: Peer | None = None
        self._is_asking = self._is_moving = self._is_over = False
        self._reports_pong = True
        self._waiting: list[str | bytes] = []
        self._waiting_bytes = 0
        self._tasks = Tasks()
        # The reply means that the session's worker does not want the probe, or no
        # longer does.
        self._opened = mailbox.ask(owner, names.OPEN_PROBE, [sid])
        self._opened.add_done_callback(self._on_opened)

    def receive(self, frame: str | bytes) -> None:
        """Take in a frame of the client's."""
        if self._peer is not None:
            self._peer.receive_frame(self._websocket, frame)
        elif self._is_over:
            pass
        elif self._is_asking or self._is_moving:
            self._keep(frame)
        elif frame == PROBE_PING:
            self._is_asking = True
            self._run(self._answer_ping())
        elif frame == PROBE_UPGRADE and self._may_take():
            self._is_moving = True
            self._run(self._move())
        else:
            self._give_up()

    def lose(self) -> None:
        """Note that the WebSocket was lost."""
        if self._peer is not None:
            self._peer.lose_websocket(self._websocket)
        else:
            self._end()

    def _keep(self, frame: str | bytes) -> None:
        self._waiting.append(frame)
        self._waiting_bytes += len(frame)
        is_much = self._waiting_bytes > MAX_WAITING_BYTES
        if is_much or len(self._waiting) > MAX_WAITING_FRAMES:
            self._give_up()

    def _take_waiting(self) -> None:
        """Take in the frames that were kept."""
        waiting, self._waiting = self._waiting, []
        self._waiting_bytes = 0
        for frame in waiting:
            self.receive(frame)

    def _on_opened(self, opened: asyncio.Future[Any]) -> None:
        # A probe whose worker cannot be reached is over, too. While the session moves,
        # a reply means nothing: the move decides.
        if not opened.cancelled() and (opened.exception() or not self._is_moving):
            self._give_up()

    async def _answer_ping(self) -> None:
        may_pong = await self._may_pong()
        if self._is_over:
            return
        if not may_pong:
            self._give_up()
            return
        await self._websocket.send_frame(PROBE_PONG)
        if self._is_over:
            return
        if self._reports_pong:
            # It is not awaited: the reply to OPEN_PROBE says if the probe is over. If
            # it is lost, the next event answers the GET. Were the WebSocket closed now,
            # the client would be mute, since it has the pong.
            self._mailbox.ask(self._owner, names.PING_PROBE, [self._sid])
        self._is_asking = False
        self._take_waiting()

    async def _may_pong(self) -> bool:
        """Ask whether the ping may be answered.

        The client's GET is answered only behind the pong. Otherwise the client begins
        another one, and is mute if the WebSocket is lost before that is answered.
        """
        asked = self._mailbox.ask(self._owner, names.MAY_PONG, [self._sid])
        try:
            return bool(await asked)
        except FailedError:
            # A worker of an earlier version: it answers the GET now.
            self._reports_pong = False
            return bool(await self._ask(names.PING_PROBE))
        except UnreachableError:
            return False

    async def _move(self) -> None:
        state = await self._ask(names.TAKE)
        if self._is_over:
            if state is not None and "last" not in state:
                # The client will come back for its sockets, which are here now.
                self._take_over(self._sid, state).break_off()
        elif state is None:
            self._give_up()
        elif "last" in state:
            await self._say_last(state)
        else:
            self._is_moving = False
            self._peer = self._take_over(self._sid, state)
            self._peer.adopt(self._websocket)
            self._take_waiting()

    async def _say_last(self, state: Mapping[str, Any]) -> None:
        """Send the last messages of a session that has ended."""
        self._is_over = True
        for message in state["last"]:
            packet = Packet(PacketType.MESSAGE, message)
            frame = encode_frame(packet, base64_only=state["base64_only"])
            await self._websocket.send_frame(frame)
        await self._websocket.close(CLOSE_NORMAL)

    async def _ask(self, name: str) -> Any:
        try:
            return await self._mailbox.ask(self._owner, name, [self._sid])
        except UnreachableError:
            return None

    def _give_up(self) -> None:
        """Close the WebSocket; if the client still polls, it continues with that."""
        if self._peer is None and not self._is_over:
            self._end()
            self._run(self._websocket.close(CLOSE_NORMAL))

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._waiting.clear()
        self._opened.cancel()
        if self._is_moving:
            self._mailbox.ask(self._owner, names.BREAK, [self._sid])

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.run(_guarded(work))


async def _guarded(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except OSError:
        logger.debug("a WebSocket was lost while its session moved")
    except Exception:
        logger.exception("a session could not be moved")
