"""Users and API keys that send far more than allowed are disconnected for a while.

Messages are counted against their limit in `ratelimit.py`, over all processes. What is
counted here is the load on this process, and it does not depend on Redis.
"""

from __future__ import annotations

import base64
import json
import logging
import time
from collections import Counter
from collections.abc import Callable

from llmchat import conf
from llmchat.access.ratelimit import Sender

logger = logging.getLogger(__name__)

# Sending more than this many times the limit is a flood.
FACTOR = 10
WINDOW_S = 60.0
BLOCK_S = 60.0

# Whose events are counted: "user" or "API key", and the id.
Whose = tuple[str, int]


def claimed_user(token: object) -> int | None:
    """Return the user that an unverified token claims: good for a refusal only."""
    try:
        payload = str(token).split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
        return int(claims["user_id"])
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None


def user(user_id: int) -> Whose:
    """Return the name under which a user's events are counted."""
    return "user", user_id


def counter_of(sender: Sender) -> tuple[Whose, int]:
    """Return whose count an event adds to, and the limit; 0 means no limit.

    It is the user's, or the API key's if only the key has a limit: what is refused to
    a key has to be bounded, too.
    """
    limit = conf.get().messages_per_minute
    if limit or sender.key_id is None:
        return user(sender.user_id), limit
    return ("API key", sender.key_id), sender.messages_per_minute or 0


class Floods:
    """The events of each user or API key in this minute, and which are blocked."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._window_ends = 0.0
        self._counts: Counter[Whose] = Counter()
        self._blocked_until: dict[Whose, float] = {}
        self._unlogged = 0
        self._log_again = 0.0

    def count(self, sender: Sender) -> None:
        """Count one event; block its user or API key if there are far too many."""
        whose, limit = counter_of(sender)
        if not limit:
            return
        now = self._clock()
        if now >= self._window_ends:
            self._begin_window(now)
        self._counts[whose] += 1
        if self._counts[whose] > FACTOR * limit:
            del self._counts[whose]
            self._blocked_until[whose] = now + BLOCK_S
            self._log(whose, now)

    @property
    def is_blocking(self) -> bool:
        """Return whether any sender may be blocked now."""
        return bool(self._blocked_until)

    def blocked_for(self, whose: Whose) -> int | None:
        """Return for how many more seconds a sender is blocked, None if it is not."""
        until = self._blocked_until.get(whose)
        if until is None or (left := until - self._clock()) <= 0:
            return None
        return max(1, round(left))

    def _begin_window(self, now: float) -> None:
        self._window_ends = now + WINDOW_S
        self._counts.clear()
        for whose, until in list(self._blocked_until.items()):
            if until <= now:
                del self._blocked_until[whose]

    def _log(self, whose: Whose, now: float) -> None:
        if now < self._log_again:
            self._unlogged += 1
            return
        logger.warning(
            "%s %d sent far more than the limit and is disconnected for %d s"
            " (%d more since the last such line)",
            *whose,
            BLOCK_S,
            self._unlogged,
        )
        self._log_again, self._unlogged = now + WINDOW_S, 0
