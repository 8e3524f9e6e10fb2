"""A circuit breaker for a service that this process depends on.

During an outage calls fail at once instead of waiting. A thread probes the service once
a second and ends the outage, so that no user's request is used as a probe.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

PROBE_EVERY_S = 1.0


class Outage:
    """The state of one service, shared by all threads of the process.

    `probe` raises, within a second or two, if the service does not do its work.
    `meanwhile` is for the log: what happens during the outage.
    """

    def __init__(self, name: str, probe: Callable[[], None], *, meanwhile: str) -> None:
        self.lasts = False
        self._name = name
        self._probe = probe
        self._meanwhile = meanwhile
        self._lock = threading.Lock()
        self._is_probing = False
        self._probed_at = 0.0
        self._ended_at = float("-inf")

    def begin(self, reason: object) -> None:
        """Begin an outage if there is none; called when the service does not answer."""
        with self._lock:
            if not self._start_probing():
                return
            is_new, self.lasts = not self.lasts, True
            if is_new:
                logger.warning(
                    "%s does not answer, %s: %s", self._name, self._meanwhile, reason
                )

    def suspect(self) -> None:
        """Probe the service; called when it is slow to answer."""
        with self._lock:
            if time.monotonic() >= self._probed_at + PROBE_EVERY_S:
                self._start_probing()

    def _start_probing(self) -> bool:
        """Return whether it is probed: nothing else ends an outage."""
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
        # What fails again as soon as it is used does more than its probe tells. Such an
        # outage lasts, instead of ending and beginning with every call.
        time.sleep(max(0.0, self._ended_at + PROBE_EVERY_S - time.monotonic()))
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
                logger.info("%s answers again", self._name)
        return True
