"""Whether something outside this process answers: a circuit breaker.

While an outage lasts nobody waits for what is away. A thread of its own tries it once
a second and ends the outage, so that no user's request is spent on trying.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

PROBE_EVERY_S = 1.0


class Outage:
    """The state of one thing outside, shared by all threads of the process.

    `probe` raises, within a second or two, where the thing does not answer.
    `meanwhile` says in the log what holds until it does.
    """

    def __init__(self, name: str, probe: Callable[[], None], *, meanwhile: str) -> None:
        self.lasts = False
        self._name = name
        self._probe = probe
        self._meanwhile = meanwhile
        self._lock = threading.Lock()
        self._is_probing = False
        self._probed_at = 0.0

    def begin(self, reason: object) -> None:
        """Called when the thing does not answer; all but the first change nothing."""
        with self._lock:
            if not self._start_probing():
                return
            is_new, self.lasts = not self.lasts, True
            if is_new:
                logger.warning(
                    "%s does not answer, %s: %s", self._name, self._meanwhile, reason
                )

    def suspect(self) -> None:
        """Called when the thing is slow to answer: it is tried before it is judged."""
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
        while not self._is_answered():
            time.sleep(PROBE_EVERY_S)

    def _is_answered(self) -> bool:
        try:
            self._probe()
        except Exception as exc:
            # Whatever it is: as long as it cannot be used, it is away.
            self.begin(exc)
            return False
        with self._lock:
            self._is_probing = False
            self._probed_at = time.monotonic()
            has_ended, self.lasts = self.lasts, False
            if has_ended:
                logger.info("%s answers again", self._name)
        return True
