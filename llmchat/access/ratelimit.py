"""The limits on messages per minute, shared by sockets, REST and all processes.

Each user has a limit, and an API key can have another one of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from django.conf import settings
from django.core.cache import caches
from django.http import HttpRequest
from django_ratelimit.core import get_usage

from llmchat import conf, metrics
from llmchat.cache import SharedCache, in_cache, in_cache_later
from llmchat.errors import refusal

_GROUP = "llmchat.messages"
_KEY_GROUP = "llmchat.messages.key"


class Sender(Protocol):
    """Whose messages are counted: a user's, and those of the API key in use."""

    @property
    def user_id(self) -> int: ...

    @property
    def key_id(self) -> int | None: ...

    @property
    def messages_per_minute(self) -> int | None:
        """The limit of the key, None if it has none."""


async def count_message(sender: Sender) -> None:
    """Count a message; during an outage of Redis, in this process only.

    Raises: ChatError `rate_limited`.
    """
    for counter in _counters(sender):
        retry_after = await _counted(*counter)
        if retry_after is not None:
            metrics.note_rate_limited()
            raise refusal("rate_limited", retry_after=retry_after)


def count_obeyed(sender: Sender) -> None:
    """Count a message that is never rejected, such as a cancel, without waiting."""
    for counter in _counters(sender):
        if _shared_cache() is None:
            _retry_after(*counter)
        else:
            in_cache_later(_retry_after, *counter)


def _counters(sender: Sender) -> Iterator[tuple[str, int, int]]:
    """Yield the counters of a message: group, id of the user or key, limit.

    The key's counter comes first: a message that is refused to one program does not
    count against the other programs of its user.
    """
    if sender.key_id is not None and sender.messages_per_minute:
        yield _KEY_GROUP, sender.key_id, sender.messages_per_minute
    if limit := conf.get().messages_per_minute:
        yield _GROUP, sender.user_id, limit


async def _counted(group: str, ident: int, limit: int) -> int | None:
    cache = _shared_cache()
    if cache is None:
        return _retry_after(group, ident, limit)
    try:
        return await in_cache(_retry_after, group, ident, limit)
    except TimeoutError:
        cache.outage.begin("no answer in time")
        return _retry_after(group, ident, limit)


def _shared_cache() -> SharedCache | None:
    """Return the cache in Redis, None while the counters are in memory."""
    cache = caches[str(getattr(settings, "RATELIMIT_USE_CACHE", "default"))]
    if isinstance(cache, SharedCache) and not cache.outage.lasts:
        return cache
    return None


def _retry_after(group: str, ident: int, limit: int) -> int | None:
    """Count a message; return the seconds to wait, None if it is within the limit."""
    usage: dict[str, int] | None = get_usage(
        # The library wants a request, but reads nothing from this one, since group,
        # key and rate are given.
        HttpRequest(),
        group=group,
        key=lambda _group, _request: str(ident),
        rate=f"{limit}/m",
        increment=True,
    )
    if usage is None or not usage["should_limit"]:
        return None
    return max(1, usage["time_left"])
