"""The limit on messages per minute and user, over sockets, REST and all processes."""

from __future__ import annotations

from django.conf import settings
from django.core.cache import caches
from django.http import HttpRequest
from django_ratelimit.core import get_usage

from llmchat import conf, metrics
from llmchat.cache import SharedCache, in_cache, in_cache_later
from llmchat.errors import refusal

_GROUP = "llmchat.messages"


async def count_message(user_id: int) -> None:
    """Count a message of the user; in this process alone during an outage of Redis.

    Raises: ChatError `rate_limited`.
    """
    limit = conf.get().messages_per_minute
    if not limit:
        return
    cache = _shared_cache()
    if cache is None:
        retry_after = _retry_after(user_id, limit)
    else:
        try:
            retry_after = await in_cache(_retry_after, user_id, limit)
        except TimeoutError:
            cache.outage.begin("no answer in time")
            retry_after = _retry_after(user_id, limit)
    if retry_after is not None:
        metrics.note_rate_limited()
        raise refusal("rate_limited", retry_after=retry_after)


def count_obeyed(user_id: int) -> None:
    """Count a message that is never rejected, such as a cancel, without waiting."""
    limit = conf.get().messages_per_minute
    if not limit:
        return
    if _shared_cache() is None:
        _retry_after(user_id, limit)
    else:
        in_cache_later(_retry_after, user_id, limit)


def _shared_cache() -> SharedCache | None:
    """Return the cache in Redis, None while the counters are in memory."""
    cache = caches[str(getattr(settings, "RATELIMIT_USE_CACHE", "default"))]
    if isinstance(cache, SharedCache) and not cache.outage.lasts:
        return cache
    return None


def _retry_after(user_id: int, limit: int) -> int | None:
    """Count a message; return the seconds to wait, None if it is within the limit."""
    usage: dict[str, int] | None = get_usage(
        # The library limits requests, but reads nothing of this one: group, key and
        # rate are given.
        HttpRequest(),
        group=_GROUP,
        key=lambda group, request: str(user_id),
        rate=f"{limit}/m",
        increment=True,
    )
    if usage is None or not usage["should_limit"]:
        return None
    return max(1, usage["time_left"])
