"""The channel layer after a failover of Redis.

A server that has become a standby accepts publishing and subscribing as before. So a
worker that is still connected to it receives what the others send, while none of them
receives what it sends, and nothing fails.
"""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)


async def reconnect(layer: Any) -> None:
    """Close the layer's connections; it opens new ones, and subscribes to the same.

    Mailboxes send again what is lost in between.
    """
    for shard in getattr(layer, "_shards", ()):
        if shard._redis is None:
            continue
        try:
            await shard._redis.connection_pool.disconnect()
        except Exception as exc:  # the connection breaks by itself
            logger.info("could not close a connection to a standby Redis: %r", exc)
