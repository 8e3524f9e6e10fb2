"""The WebSockets of one session: its transport, its probe, and those that only close.

Each has its own `Writer`. A session seldom has more than one of them.
"""

from __future__ import annotations

from collections.abc import Callable

from .engineio.events import Event
from .engineio.session import CLOSE_NORMAL, Session
from .transports import WebSocket
from .writer import Close, Writer

Changed = Callable[[list[Event]], None]


class WebSockets:
    """The WebSockets of a session.

    `changed` is called when one has ended. It is only kept while there is one, so that
    a session without WebSockets is freed immediately.
    """

    __slots__ = ("_changed", "_probe", "_session", "_transport", "_writers")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._changed: Changed | None = None
        self._transport: Writer | None = None
        self._probe: Writer | None = None
        # Both of these, and those that only close.
        self._writers: tuple[Writer, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._writers)

    def adopt(self, websocket: WebSocket, changed: Changed) -> None:
        """Take the WebSocket that opened the session as its transport."""
        self._transport = self._write_to(websocket, changed)

    def open(self, websocket: WebSocket, now: float, changed: Changed) -> None:
        """Take a WebSocket that names the session as a probe; close it if unwanted."""
        writer = self._write_to(websocket, changed)
        if self._session.open_websocket(now):
            self._probe = writer

    def receive(
        self, websocket: WebSocket, frame: str | bytes, now: float
    ) -> list[Event]:
        """Take in a frame; ignored from a WebSocket that only closes."""
        writer = self._writer_of(websocket)
        if writer is not None and writer is self._transport:
            return self._session.receive_frame(frame, now)
        if writer is not None and writer is self._probe:
            return self._session.receive_probe_frame(frame, now)
        return []

    def lose(self, websocket: WebSocket) -> list[Event]:
        """Note that a WebSocket was lost."""
        writer = self._writer_of(websocket)
        if writer is not None:
            writer.abandon()
            return self._follow_end(writer)
        if self._transport is None and self._session.transport == "websocket":
            # It was lost before it was adopted.
            return self._session.lose_websocket()
        return []

    def upgrade(self) -> None:
        """Make the probe the transport."""
        self._transport, self._probe = self._probe, None

    def wake(self) -> None:
        """Write what is ready; close the WebSockets that are no longer of use."""
        session = self._session
        if self._probe is not None and not session.probe_is_open:
            self._probe = None  # its writer closes it
        for writer in self._writers:
            if writer is self._probe or (
                writer is self._transport and not session.is_closed
            ):
                writer.wake()
            else:
                writer.finish()

    def takes_texts(self) -> bool:
        """Return whether `write_texts` may be called: only the transport is there."""
        transport = self._transport
        return (
            transport is not None
            and len(self._writers) == 1
            and transport.takes_texts()
        )

    def write_texts(self, frames: list[str]) -> None:
        """Write text frames to the transport immediately."""
        if self._transport is not None:
            self._transport.websocket.write_texts(frames)

    def drop(self, *, writing_only: bool) -> None:
        """Drop all WebSockets, or only those whose client takes nothing."""
        for writer in self._writers:
            if writer.is_writing or not writing_only:
                writer.drop()
                self._strike(writer)

    def _write_to(self, websocket: WebSocket, changed: Changed) -> Writer:
        self._changed = changed
        writer = Writer(websocket, self._take, self._release)
        self._writers += (writer,)
        return writer

    def _writer_of(self, websocket: WebSocket) -> Writer | None:
        for writer in self._writers:
            if writer.websocket is websocket:
                return writer
        return None

    def _take(self, writer: Writer) -> str | bytes | Close | None:
        """Return what a writer is to write next."""
        session = self._session
        if writer is self._probe:
            return session.take_probe_frame()
        if writer is not self._transport:
            return Close(CLOSE_NORMAL)
        frame = session.take_frame()
        if frame is None and session.is_closed:
            return Close(session.close_code)
        return frame

    def _release(self, writer: Writer) -> None:
        """Called by a writer whose WebSocket has ended, in order or not."""
        changed = self._changed
        events = self._follow_end(writer)
        if changed is not None:
            changed(events)

    def _follow_end(self, writer: Writer) -> list[Event]:
        self._strike(writer)
        if writer is self._transport:
            self._transport = None
            return self._session.lose_websocket()
        if writer is self._probe:
            self._probe = None
            self._session.lose_probe()
        return []

    def _strike(self, writer: Writer) -> None:
        self._writers = tuple(other for other in self._writers if other is not writer)
        if not self._writers:
            self._changed = None
