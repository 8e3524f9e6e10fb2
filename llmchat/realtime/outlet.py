"""A socket's way out: to its connection, or to what is kept until it has one.

The socket emits through it; the dispatcher moves it from one connection to the next.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from enum import Enum, auto
from itertools import zip_longest
from typing import Any, Protocol

from .offsets import Marks
from .replay import Messages, Replay, content_of
from .socketio.connection import encode_ack, encode_event

MAX_PENDING_CALLS = 1_000

Answer = tuple[Any, ...]
# Takes an event's name and arguments; returns arguments that are short enough.
Shorten = Callable[[str, tuple[Any, ...]], Sequence[Any]]


class DisconnectedError(ConnectionError):
    """The client disconnected while its answer was awaited."""


class Line(Protocol):
    """What sockets need from the connection that they are attached to."""

    @property
    def writable(self) -> bool:
        """Return whether emitters may continue."""

    @property
    def transport(self) -> str:
        """Return the name of the current transport."""

    def send(
        self, messages: Messages, replay: Replay | None = None, number: int = 0
    ) -> None:
        """Queue messages that belong together.

        When the client has confirmed them, the event of this number is confirmed to
        the replay.
        """

    async def drain(self) -> None:
        """Wait until the client has caught up, or the connection has ended."""

    def expel(self, namespace: str, *, close: bool) -> None:
        """Make the client leave the namespace; `close`: leave all, and disconnect."""

    def close(self) -> None:
        """Close the connection; the client comes back by itself."""


class SocketState(Enum):
    """The state of a socket, as regards its client."""

    JOINING = auto()  # connected, not let in yet
    JOINED = auto()
    ABSENT = auto()  # disconnected, and may come back
    GONE = auto()


def _nothing() -> None:
    """Do nothing."""


class Outlet:
    """Sends what a socket emits, and keeps what may have to be sent again.

    `connection` counts the connections that it was attached to.
    """

    __slots__ = (
        "_calls",
        "_early",
        "_namespace",
        "_next_call",
        "_returned",
        "_shorten",
        "_vital",
        "connection",
        "forget",
        "is_leaving",
        "line",
        "marks",
        "replay",
        "state",
    )

    def __init__(
        self,
        namespace: str,
        line: Line | None,
        *,
        recoverable: bool,
        vital: frozenset[str] = frozenset(),
        shorten: Shorten | None = None,
    ) -> None:
        """`vital` names the events that a client gets no matter how much it missed."""
        self._namespace = namespace
        self._vital = vital
        self._shorten = shorten
        self._returned: asyncio.Future[None] | None = None
        self._early: list[Messages] = []
        self._calls: dict[int, asyncio.Future[Answer]] = {}
        self._next_call = 0
        self.connection = 0
        self.marks = Marks()
        self.forget: Callable[[], None] = _nothing
        # Whether the client is to leave as soon as it is let in.
        self.is_leaving = False
        self.line = line
        self.replay = Replay() if recoverable else None
        self.state = SocketState.JOINING

    # What the socket calls.

    @property
    def writable(self) -> bool:
        """Return whether emitters may continue; an absent client has a limit, too."""
        if self.line is not None:
            return self.line.writable
        return self.replay is None or not self.replay.lags

    async def drain(self) -> None:
        """Wait until the client has caught up, or cannot come back any more."""
        while not self.writable:
            if self.line is not None:
                await self.line.drain()
            else:
                if self._returned is None:
                    self._returned = asyncio.get_running_loop().create_future()
                await asyncio.shield(self._returned)

    def emit(self, name: str, args: Sequence[Any]) -> None:
        """Send an event, or keep it for a client that is absent or not let in yet."""
        replay = self.replay
        if replay is None:
            self._send(encode_event(self._namespace, name, args))
            return
        offset = f"{replay.next_offset()}{self.marks}"
        messages = encode_event(self._namespace, name, (*args, offset))
        self._keep_and_send(replay, messages, is_vital=name in self._vital)

    def prepare(self, name: str) -> str:
        """Return the beginning of an event's packets, up to the first argument."""
        (packet,) = encode_event(self._namespace, name, ())
        assert isinstance(packet, str)
        return packet.removesuffix("]") + ","

    def emit_prepared(
        self, prepared: str, arguments: Sequence[str], marks: Sequence[str] = ()
    ) -> None:
        """Send an event for each of `arguments`, which are JSON, in one write.

        `marks` are the marks for the offset of each (see `Marks.along`).
        """
        replay = self.replay
        if replay is None:
            self._send([f"{prepared}{argument}]" for argument in arguments])
            return
        messages: Messages = []
        number = 0
        for argument, mark in zip_longest(arguments, marks, fillvalue=""):
            message = f'{prepared}{argument},"{replay.next_offset()}{mark}"]'
            number = replay.keep(message)
            messages.append(message)
        self._send_kept(replay, messages, number)

    def _keep_and_send(
        self, replay: Replay, messages: Messages, *, is_vital: bool = False
    ) -> None:
        # Keep it first: if it is one message too many, the connection ends in `send`.
        number = replay.keep(content_of(messages), is_vital=is_vital)
        self._send_kept(replay, messages, number)

    def _send_kept(self, replay: Replay, messages: Messages, number: int) -> None:
        if self.state is SocketState.JOINED and self.line is not None:
            self.line.send(messages, replay, number)
        if replay.is_full and self.state is not SocketState.JOINING:
            # The client would have too much to catch up with. A client that is still
            # joining has not lost its connection, and gets everything.
            self.shed()

    def shed(self) -> None:
        """Keep only the vital events."""
        if self.replay is not None:
            self.replay.shed(self._shortened)

    def _shortened(self, messages: Messages) -> Messages:
        """Return a vital event shortened; with attachments, it stays as it is."""
        (packet, *attachments) = messages
        if self._shorten is None or attachments or not isinstance(packet, str):
            return messages
        (bare,) = encode_event(self._namespace, "x", ())
        name, *args, offset = json.loads(packet[len(bare) - len('["x"]') :])
        short = self._shorten(name, tuple(args))
        return encode_event(self._namespace, name, (*short, offset))

    async def call(self, name: str, args: Sequence[Any], timeout_s: float) -> Answer:
        """Send an event and wait for the client's answer.

        Raises:
            TimeoutError: no answer arrived in time.
            DisconnectedError: the client disconnected or was not connected, or too many
                calls await its answer.
        """
        if self.state is not SocketState.JOINED:
            raise DisconnectedError("the client is disconnected")
        if len(self._calls) >= MAX_PENDING_CALLS:
            raise DisconnectedError("too many calls have no answer yet")
        ack_id, self._next_call = self._next_call, self._next_call + 1
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._calls[ack_id] = answer
        try:
            self._send(encode_event(self._namespace, name, args, ack_id))
            async with asyncio.timeout(timeout_s):
                return await answer
        finally:
            self._calls.pop(ack_id, None)

    def acknowledge(self, ack_id: int, args: Sequence[Any], connection: int) -> None:
        """Answer an event of this connection, unless that has ended."""
        if connection == self.connection and self.state is SocketState.JOINED:
            self._send(encode_ack(self._namespace, ack_id, args))

    def leave(self, *, close: bool) -> None:
        """Make the client leave; if it is absent, forget its socket."""
        if self.state is SocketState.JOINING:
            self.is_leaving = True
            if not close:
                return
        if self.line is not None:
            self.line.expel(self._namespace, close=close)
        elif self.state is SocketState.ABSENT:
            self.forget()

    def _send(self, messages: Messages) -> None:
        if self.state is SocketState.JOINED and self.line is not None:
            self.line.send(messages)
        elif self.state is SocketState.JOINING:
            self._early.append(messages)

    # What the dispatcher calls.

    def admit(self, behind: int = 0) -> None:
        """Let the client in, and send what was emitted before.

        Of the events that are kept, send those after the number `behind`.
        """
        self.state = SocketState.JOINED
        early, self._early = self._early, []
        for messages in early:
            self._send(messages)
        replay = self.replay
        for kept in replay.events if replay is not None else ():
            if kept.number <= behind:
                continue  # the worker that had the socket sent it
            if self.state is SocketState.JOINED and self.line is not None:
                self.line.send(kept.messages, replay, kept.number)
        if self.is_leaving and self.line is not None:
            self.line.expel(self._namespace, close=False)

    def resolve(self, ack_id: int, args: Answer) -> None:
        """Hand an answer to the `call` that awaits it; ignore it if there is none."""
        future = self._calls.get(ack_id)
        if future is not None and not future.done():
            future.set_result(args)

    def attach(self, line: Line) -> None:
        """Take another connection, to be used once `admit` is called."""
        self.connection += 1
        self.line = line
        self.forget = _nothing
        self._end_absence()
        self.state = SocketState.JOINING

    def detach(self, forget: Callable[[], None] | None = None) -> None:
        """Give up the connection, and the answers that were awaited.

        If the client may return, pass `forget`, which `leave` calls to prevent that.
        """
        self.line = None
        self.forget = forget or _nothing
        self.state = SocketState.ABSENT if forget else SocketState.GONE
        if not forget:
            self.replay = None
            self._end_absence()
        for future in self._calls.values():
            if not future.done():
                future.set_exception(DisconnectedError("the client disconnected"))

    # Another worker.

    @property
    def is_at_rest(self) -> bool:
        """Return whether no `call` awaits an answer, and no client is being let in."""
        return not self._calls and self.state in (
            SocketState.JOINED,
            SocketState.ABSENT,
        )

    def hand_over(self) -> list[Any]:
        """Return what `take_over` needs on another worker; send nothing more here."""
        replay = None if self.replay is None else self.replay.hand_over()
        state = [replay, self._next_call, self.connection, self.marks.hand_over()]
        self.detach()
        return state

    def take_over(self, state: list[Any]) -> None:
        """Continue where the outlet of another worker stopped."""
        replay, self._next_call, self.connection, marks = state
        self.marks = Marks(marks)
        self.replay = None if replay is None else Replay.taken_over(replay)

    def _end_absence(self) -> None:
        returned, self._returned = self._returned, None
        if returned is not None:
            returned.set_result(None)
