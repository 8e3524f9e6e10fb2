"""Users who send far more than they may: disconnected for a while.

The limit on messages is counted elsewhere, over all processes. What is counted here is
the load on this one, whatever Redis does.
"""

from __future__ import annotations

import base64
import json
import logging
import time
from collections import Counter
from collections.abc import Callable

from llmchat import conf

logger = logging.getLogger(__name__)

# How many times the limit is far above it.
FACTOR = 10
WINDOW_S = 60.0
BLOCK_S = 60.0


def claimed_user(token: object) -> int | None:
    """Return the user that a token names, unchecked: good for a refusal only."""
    try:
        payload = str(token).split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
        return int(claims["user_id"])
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None


class Floods:
    """The events of each user in this minute, and who is not let in."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._window_ends = 0.0
        self._counts: Counter[int] = Counter()
        self._blocked_until: dict[int, float] = {}
        self._unlogged = 0
        self._log_again = 0.0

    def count(self, user_id: int) -> None:
        """Count one event; block its user if there are far too many."""
        limit = conf.get().messages_per_minute
        if not limit:
            return
        now = self._clock()
        if now >= self._window_ends:
            self._begin_window(now)
        self._counts[user_id] += 1
        if self._counts[user_id] > FACTOR * limit:
            del self._counts[user_id]
            self._blocked_until[user_id] = now + BLOCK_S
            self._log(user_id, now)

    def blocked_for(self, user_id: int) -> int | None:
        """Return for how many more seconds the user is blocked, None if not at all."""
        until = self._blocked_until.get(user_id)
        if until is None or (left := until - self._clock()) <= 0:
            return None
        return max(1, round(left))

    def _begin_window(self, now: float) -> None:
        self._window_ends = now + WINDOW_S
        self._counts.clear()
        for user_id, until in list(self._blocked_until.items()):
            if until <= now:
                del self._blocked_until[user_id]

    def _log(self, user_id: int, now: float) -> None:
        if now < self._log_again:
            self._unlogged += 1
            return
        logger.warning(
            "user %s sends far more than the limit and is disconnected for %d s"
            " (%d more since the last such line)",
            user_id,
            BLOCK_S,
            self._unlogged,
        )
        self._log_again, self._unlogged = now + WINDOW_S, 0
