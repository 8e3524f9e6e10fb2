"""A circuit breaker for a service that this process depends on.

During an outage calls fail immediately instead of waiting. A thread probes the service
once a second and ends the outage, so that no user's request serves as a probe.

A service can fail again as soon as it is used, although its probe succeeds: a full
Redis, for example, accepts the probe's key whenever another key expires. So the time
between the ends of outages that follow each other grows, up to a limit. Once it has
reached the limit, further outages are not logged; the end of the last one is logged
when no other has followed it for a minute.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

PROBE_EVERY_S = 1.0
# Outages with less than this between them follow each other.
QUIET_S = 60.0


class Outage:
    """The state of one service, shared by all threads of the process.

    `probe` raises, within a second or two, if the service does not do its work.
    `meanwhile` says in the log what happens during the outage. While the probe
    succeeds, no more than `longest_s` pass between the ends of two outages.
    """

    def __init__(
        self,
        name: str,
        probe: Callable[[], None],
        *,
        meanwhile: str,
        longest_s: float = PROBE_EVERY_S,
    ) -> None:
        self.lasts = False
        self._name = name
        self._probe = probe
        self._meanwhile = meanwhile
        self._longest_s = longest_s
        self._lock = threading.Lock()
        self._is_probing = False
        # Whether another process has logged this outage, and will log its end.
        self._is_logged_elsewhere = False
        self._probed_at = 0.0
        self._ended_at = float("-inf")
        # The shortest time from the last end to the next.
        self._apart_s = 0.0
        # Logs the last end later, if it has not been logged.
        self._quiet: threading.Timer | None = None

    def begin(self, reason: object) -> None:
        """Begin an outage if there is none; called when the service does not answer."""
        with self._lock:
            if not self._start_probing():
                return
            is_new, self.lasts = not self.lasts, True
            if is_new:
                was_last_told = self._is_last_told()
                if self._quiet is not None:
                    self._quiet.cancel()
                self._follow()
                if not (was_last_told and self._is_last_told()):
                    self._tell(reason)

    def begin_unlogged(self) -> None:
        """Begin an outage that another process has logged, as it will log the end."""
        with self._lock:
            if self._start_probing():
                self.lasts = self._is_logged_elsewhere = True

    def _follow(self) -> None:
        """Postpone the end of an outage that follows another."""
        if time.monotonic() >= self._ended_at + QUIET_S:
            self._apart_s = 0.0
        else:
            longest_s = max(self._longest_s, PROBE_EVERY_S)
            self._apart_s = min(max(2 * self._apart_s, PROBE_EVERY_S), longest_s)

    def _is_last_told(self) -> bool:
        return self._apart_s >= self._longest_s > PROBE_EVERY_S

    def _tell(self, reason: object) -> None:
        words = "%s does not answer, %s: %s"
        if self._is_last_told():
            words += (
                f" (it keeps failing: not logged again until {QUIET_S:g} s "
                "without an outage)"
            )
        logger.warning(words, self._name, self._meanwhile, reason)

    def suspect(self) -> None:
        """Probe the service; called when it is slow to answer."""
        with self._lock:
            if time.monotonic() >= self._probed_at + PROBE_EVERY_S:
                self._start_probing()

    def _start_probing(self) -> bool:
        """Return whether the service is being probed: only a probe ends an outage."""
        if not self._is_probing:
            name = f"probe of {self._name}"
            probe = threading.Thread(target=self._keep_probing, name=name, daemon=True)
            try:
                probe.start()
            except RuntimeError:  # too many threads: the next call tries again
                return False
            self._is_probing = True
        return True

    def _keep_probing(self) -> None:
        with self._lock:  # `begin` holds it until it has set these values
            ends_at = self._ended_at + max(self._apart_s, PROBE_EVERY_S)
        time.sleep(max(0.0, ends_at - time.monotonic()))
        while not self._is_answered():
            time.sleep(PROBE_EVERY_S)

    def _is_answered(self) -> bool:
        try:
            self._probe()
        except Exception as exc:
            # Whatever the reason, the service cannot be used.
            self.begin(exc)
            return False
        with self._lock:
            self._is_probing = False
            self._probed_at = time.monotonic()
            has_ended, self.lasts = self.lasts, False
            if has_ended:
                self._ended_at = self._probed_at
                if not self._is_last_told() or not self._wait_for_quiet():
                    self._tell_end()
        return True

    def _wait_for_quiet(self) -> bool:
        """Have the end logged later if no outage follows; return whether that works."""
        self._quiet = threading.Timer(QUIET_S, self._tell_if_quiet)
        self._quiet.daemon = True
        try:
            self._quiet.start()
        except RuntimeError:  # too many threads
            return False
        return True

    def _tell_if_quiet(self) -> None:
        with self._lock:
            # The timer might have been cancelled too late.
            if not self.lasts and time.monotonic() >= self._ended_at + QUIET_S:
                self._tell_end()

    def _tell_end(self) -> None:
        if not self._is_logged_elsewhere:
            logger.info("%s answers again", self._name)
        self._is_logged_elsewhere = False
