"""Which key is tried next, how soon, and when to give up."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from .errors import EmptyAnswerError, KeyRefusedError, ProviderAuthError, ProviderError
from .types import Key, Provider

MAX_RETRIES = 2
MAX_RETRY_AFTER_S = 20.0  # nobody waits longer in a chat
_BASE_DELAY_S = 0.5
_MAX_DELAY_S = 8.0

OnKeyRefused = Callable[[Key, KeyRefusedError], None]


class Attempts:
    """The attempts at one answer, none of which has given visible text yet.

    A refused key costs no retry: the next key is tried immediately. An empty answer is
    retried once, any other temporary failure at most twice.
    """

    def __init__(
        self,
        provider: Provider,
        keys: Sequence[Key],
        on_key_refused: OnKeyRefused | None = None,
    ) -> None:
        self._keys = list(keys)
        self._on_key_refused = on_key_refused
        self._retries = 0
        self._empty = 0
        self.count = 1
        if provider.needs_key and not self._keys:
            raise ProviderAuthError("no key")

    @property
    def key(self) -> Key | None:
        """The key of the current attempt, None if the provider needs none."""
        return self._keys[0] if self._keys else None

    def sign(self, error: ProviderError) -> None:
        """Note in an error which attempt it ended, and hide the key of that attempt."""
        error.attempts = self.count
        if self.key is not None:
            error.hide(self.key.value)

    def next_delay(self, error: ProviderError) -> float:
        """Return the seconds to wait before the next attempt.

        Raises:
            ProviderError: `error` itself, if there is to be no other attempt.
        """
        if isinstance(error, KeyRefusedError):
            self._drop_key(error)
            delay = 0.0
        elif error.retryable and self._may_retry(error):
            self._retries += 1
            delay = self._delay(error)
        else:
            raise error
        self.count += 1
        return delay

    def _drop_key(self, error: KeyRefusedError) -> None:
        if not self._keys:
            raise error
        key = self._keys.pop(0)
        if self._on_key_refused is not None:
            self._on_key_refused(key, error)
        if not self._keys:
            raise error

    def _may_retry(self, error: ProviderError) -> bool:
        if isinstance(error, EmptyAnswerError):
            self._empty += 1
            if self._empty > 1:
                return False
        wait = error.retry_after or 0.0
        return self._retries < MAX_RETRIES and wait <= MAX_RETRY_AFTER_S

    def _delay(self, error: ProviderError) -> float:
        if error.retry_after is not None:
            return error.retry_after
        if isinstance(error, ConnectionDroppedError) and self._retries == 1:
            return 0.0
        backoff = _BASE_DELAY_S * 2.0 ** (self._retries - 1)
        return min(backoff, _MAX_DELAY_S) * random.uniform(0.75, 1.0)


class ConnectionDroppedError(ProviderError):
    """The connection was lost before any answer.

    Mostly the connection was kept alive, and the provider has closed it in the
    meantime, so the first retry need not wait.
    """

    retryable = True
