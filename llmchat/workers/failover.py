"""The channel layer after a failover of Redis.

A standby takes what is published and listened to as before. So who is still connected
to it hears the others and is heard by none of them, and nothing fails.
"""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)


async def reconnect(layer: Any) -> None:
    """Close the layer's connections; it opens others, and listens to the same.

    What is lost meanwhile a mailbox sends again.
    """
    for shard in getattr(layer, "_shards", ()):
        if shard._redis is None:
            continue
        try:
            await shard._redis.connection_pool.disconnect()
        except Exception as exc:  # it breaks by itself
            logger.info("could not close a connection to a standby Redis: %r", exc)
