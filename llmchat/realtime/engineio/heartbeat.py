"""When a session pings, and by when the pong must arrive.

While the session is open, one of the two times is set. Both are absolute, each computed
from the other: a timer that fires late neither shortens nor lengthens anything.

Spec: Engine.IO protocol 4, "Heartbeat".
"""

from __future__ import annotations


class Heartbeat:
    """The times of one session's pings and pongs."""

    __slots__ = ("_interval_s", "_timeout_s", "ping_at", "pong_by")

    def __init__(self, now: float, interval_s: float, timeout_s: float) -> None:
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self.ping_at: float | None = now + interval_s
        self.pong_by: float | None = None

    @property
    def deadline(self) -> float | None:
        """Return when something is due; None: the heartbeat has stopped."""
        return self.pong_by if self.ping_at is None else self.ping_at

    def until_ping(self, now: float) -> float | None:
        """Return in how many seconds to ping; None: a pong is awaited."""
        return None if self.ping_at is None else max(0.0, self.ping_at - now)

    def ping_in(self, delay_s: float | None, now: float) -> None:
        """Ping after this delay; None: wait for the pong to an earlier ping."""
        if delay_s is None:
            self.ping(now)
        else:
            self.ping_at = now + delay_s

    def ping(self, at: float) -> None:
        """Note a ping that was due at this time, and from when its pong is late."""
        self.ping_at = None
        self.pong_by = at + self._timeout_s

    def pong(self, now: float) -> None:
        """Note a pong; a pong without a ping restarts the interval as well."""
        self.pong_by = None
        self.ping_at = now + self._interval_s

    def extend(self, now: float) -> None:
        """Restart the time limit of a pong that is awaited."""
        if self.pong_by is not None:
            self.pong_by = now + self._timeout_s

    def stop(self) -> None:
        """Stop both times."""
        self.ping_at = self.pong_by = None
