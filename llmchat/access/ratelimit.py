"""Messages a minute for each user, over sockets, REST and workers together."""

from __future__ import annotations

import logging

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.http import HttpRequest
from django_ratelimit.core import get_usage
from redis.exceptions import RedisError

from llmchat import conf
from llmchat.database import in_database
from llmchat.errors import refusal

logger = logging.getLogger(__name__)

_GROUP = "llmchat.messages"


async def count_message(user_id: int) -> None:
    """Count one message of the user.

    While the shared counters cannot be reached nobody is refused: an outage of the
    cache is no reason to stop every chat.

    Raises: ChatError `rate_limited`.
    """
    limit = conf.get().messages_per_minute
    if not limit:
        return
    try:
        if isinstance(caches[_cache_name()], LocMemCache):
            retry_after = _retry_after(user_id, limit)
        else:
            retry_after = await in_database(_retry_after, user_id, limit)
    except (RedisError, OSError) as exc:
        logger.warning("messages are not counted, no cache: %s", exc)
        return
    if retry_after is not None:
        raise refusal("rate_limited", retry_after=retry_after)


def _retry_after(user_id: int, limit: int) -> int | None:
    """Return the seconds to wait, None where the message is within the limit."""
    usage: dict[str, int] | None = get_usage(
        # The library limits requests, but looks at nothing in this one: the group,
        # the key and the rate are all given.
        HttpRequest(),
        group=_GROUP,
        key=lambda group, request: str(user_id),
        rate=f"{limit}/m",
        increment=True,
    )
    if usage is None or not usage["should_limit"]:
        return None
    return max(1, usage["time_left"])


def _cache_name() -> str:
    return str(getattr(settings, "RATELIMIT_USE_CACHE", "default"))
