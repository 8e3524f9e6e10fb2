"""Where a session's packets travel, and how that changes: the upgrade as a table.

Spec: Engine.IO protocol 4, "Upgrade".
"""

from __future__ import annotations

from enum import Enum, auto

PROBE_PING = "2probe"
PROBE_PONG = "3probe"
PROBE_UPGRADE = "5"


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
        """Return whether the WebSocket is the transport."""
        return self.link is Link.WEBSOCKET

    @property
    def is_probing(self) -> bool:
        """Return whether a WebSocket is open beside the polling."""
        return self.link in (Link.PROBING, Link.PROBED)

    def open_probe(self, now: float) -> bool:
        """Start a probe. False: there is a WebSocket already."""
        if not self._move(Signal.PROBE_OPENED):
            return False
        self.deadline = now + self._timeout_s
        return True

    def ping_probe(self) -> None:
        """Note the probe's ping; one pong answers many of them."""
        self.pong_waits = self._move(Signal.PROBE_PINGED)

    def lose_probe(self) -> None:
        """Give up the probe."""
        if self._move(Signal.PROBE_LOST):
            self.stop()

    def complete(self) -> None:
        """Make the WebSocket the transport; a pong that waits is still sent."""
        self._move(Signal.UPGRADED)
        self.deadline = None

    def take_pong(self) -> bool:
        """Return whether a pong is to be sent now, once for each ping."""
        waits, self.pong_waits = self.pong_waits, False
        return waits

    def stop(self) -> None:
        """Stop the timer and drop the pong."""
        self.deadline = None
        self.pong_waits = False

    def _move(self, signal: Signal) -> bool:
        link = TRANSITIONS.get((self.link, signal))
        if link is None:
            return False
        self.link = link
        return True
