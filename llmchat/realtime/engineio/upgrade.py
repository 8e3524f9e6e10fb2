"""Where a session's packets travel, and how that changes: the upgrade as a table.

Spec: Engine.IO protocol 4, "Upgrade".
"""

from __future__ import annotations

from enum import Enum, auto


class Link(Enum):
    """Where the session's packets travel."""

    POLLING = auto()
    PROBING = auto()  # polling, with a WebSocket opened beside it
    PROBED = auto()  # the same, after the probe's ping
    WEBSOCKET = auto()


class Signal(Enum):
    """What happens to the transports."""

    PROBE_OPENED = auto()
    PROBE_PINGED = auto()
    PROBE_LOST = auto()
    UPGRADED = auto()


# The upgrade, whole. What is not in the table does not happen.
TRANSITIONS: dict[tuple[Link, Signal], Link] = {
    (Link.POLLING, Signal.PROBE_OPENED): Link.PROBING,
    (Link.PROBING, Signal.PROBE_PINGED): Link.PROBED,
    (Link.PROBED, Signal.PROBE_PINGED): Link.PROBED,
    (Link.PROBING, Signal.PROBE_LOST): Link.POLLING,
    (Link.PROBED, Signal.PROBE_LOST): Link.POLLING,
    (Link.PROBING, Signal.UPGRADED): Link.WEBSOCKET,
    (Link.PROBED, Signal.UPGRADED): Link.WEBSOCKET,
}


class Upgrade:
    """How far one session is on its way from polling to a WebSocket."""

    __slots__ = ("_timeout_s", "deadline", "link", "pong_waits")

    def __init__(self, transport: str, timeout_s: float) -> None:
        self.link = Link.WEBSOCKET if transport == "websocket" else Link.POLLING
        self.deadline: float | None = None
        self.pong_waits = False  # the answer to the probe's ping
        self._timeout_s = timeout_s

    @property
    def is_complete(self) -> bool:
        """True when the WebSocket is the transport."""
        return self.link is Link.WEBSOCKET

    @property
    def is_probing(self) -> bool:
        """True while a WebSocket is opened beside the polling."""
        return self.link in (Link.PROBING, Link.PROBED)

    def open_probe(self, now: float) -> bool:
        """A WebSocket has been opened. False: there is one already."""
        if not self._move(Signal.PROBE_OPENED):
            return False
        self.deadline = now + self._timeout_s
        return True

    def ping_probe(self) -> None:
        """The probe's ping has come; one answer is enough for many of them."""
        self.pong_waits = self._move(Signal.PROBE_PINGED)

    def lose_probe(self) -> None:
        """The WebSocket is gone or useless."""
        if self._move(Signal.PROBE_LOST):
            self.stop()

    def complete(self) -> None:
        """The WebSocket is the transport. What the probe is owed is owed still."""
        self._move(Signal.UPGRADED)
        self.deadline = None

    def take_pong(self) -> bool:
        """Whether the probe's ping is to be answered now."""
        waits, self.pong_waits = self.pong_waits, False
        return waits

    def stop(self) -> None:
        """Expects nothing any more."""
        self.deadline = None
        self.pong_waits = False

    def _move(self, signal: Signal) -> bool:
        link = TRANSITIONS.get((self.link, signal))
        if link is None:
            return False
        self.link = link
        return True
