"""Where a session's packets travel, and how that changes: the upgrade as a table.

A stock client that has seen the probe's pong ends its polling with the answer to the
poll that it has waiting. Where the WebSocket is lost before that answer has come, it
has nothing left to be reached by, and stays mute until it misses a ping. So the pong
goes out while a poll waits, and polls are held for a moment behind it: a loss in that
time is seen here, too, and can still be told with the poll.

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

    __slots__ = (
        "_hold_s",
        "_timeout_s",
        "expires_at",
        "held_until",
        "link",
        "pong_at",
        "pong_waits",
    )

    def __init__(self, transport: str, timeout_s: float, hold_s: float) -> None:
        self.link = Link.WEBSOCKET if transport == "websocket" else Link.POLLING
        self.expires_at: float | None = None
        self.pong_waits = False  # the answer to the probe's ping
        self.pong_at: float | None = None  # at the latest; None: at once
        self.held_until: float | None = None  # polls, behind the pong
        self._timeout_s = timeout_s
        self._hold_s = hold_s

    @property
    def is_complete(self) -> bool:
        """Return whether the WebSocket is the transport."""
        return self.link is Link.WEBSOCKET

    @property
    def is_probing(self) -> bool:
        """Return whether a WebSocket is open beside the polling."""
        return self.link in (Link.PROBING, Link.PROBED)

    @property
    def holds_polls(self) -> bool:
        """Return whether a poll waits, whatever there is to answer."""
        return self.held_until is not None

    @property
    def may_have_muted(self) -> bool:
        """Return whether a poll may be the last thing that the client listens to."""
        return self.holds_polls and self.link is Link.POLLING

    @property
    def deadline(self) -> float | None:
        """When there is something to do, None for never."""
        times = (self.pong_at, self.held_until, self.expires_at)
        return min((time for time in times if time is not None), default=None)

    def open_probe(self, now: float) -> bool:
        """Start a probe. False: there is a WebSocket already."""
        if not self._move(Signal.PROBE_OPENED):
            return False
        self.expires_at = now + self._timeout_s
        self.held_until = None
        return True

    def ping_probe(self, now: float, *, polled: bool) -> None:
        """Note the probe's ping; one pong answers many of them.

        `polled`: a poll waits. Where none does, the pong is in no hurry: a stock client
        is about to poll. Not every client does that beside a probe.
        """
        if self.link is Link.PROBING:
            if polled:
                self.held_until = now + self._hold_s
            else:
                self.pong_at = now + self._hold_s
        self.pong_waits = self._move(Signal.PROBE_PINGED)

    def release_pong(self, now: float) -> None:
        """Let the pong go, if it is in no hurry; polls are held from now on."""
        if self.pong_at is not None:
            self.pong_at = None
            self.held_until = now + self._hold_s

    def release_polls(self) -> None:
        """Hold no poll any more."""
        self.held_until = None

    def lose_probe(self) -> None:
        """Note that the probe was lost, which polls that are held may have to tell."""
        if self._move(Signal.PROBE_LOST):
            self.expires_at = self.pong_at = None
            self.pong_waits = False

    def end_probe(self) -> None:
        """Give up the probe, since it is of no use."""
        self._move(Signal.PROBE_LOST)
        self.stop()

    def complete(self) -> None:
        """Make the WebSocket the transport; a pong that waits is still sent."""
        self._move(Signal.UPGRADED)
        self._stop_times()

    def take_pong(self) -> bool:
        """Return whether a pong is to be sent now, once for each ping."""
        if self.pong_at is not None:
            return False
        waits, self.pong_waits = self.pong_waits, False
        return waits

    def stop(self) -> None:
        """Stop the times and drop the pong."""
        self._stop_times()
        self.pong_waits = False

    def _stop_times(self) -> None:
        self.expires_at = self.pong_at = self.held_until = None

    def _move(self, signal: Signal) -> bool:
        link = TRANSITIONS.get((self.link, signal))
        if link is None:
            return False
        self.link = link
        return True
