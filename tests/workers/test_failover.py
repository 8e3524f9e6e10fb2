"""A Redis that becomes a standby, and the connections that leave it; a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.core.cache import cache as shared
from redis import Redis

from llmchat import cache
from llmchat.answers import runtime
from llmchat.cache import in_cache
from llmchat.workers import Mailbox, address_of
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)

ONE = address_of("one")


@pytest.fixture
async def admin(settings: Any, redis_server: RedisServer) -> AsyncIterator[Redis]:
    """Let the cache and the channel layer be in Redis, and return a client of it."""
    backend = "channels_redis.pubsub.RedisPubSubChannelLayer"
    layer = {"BACKEND": backend, "CONFIG": {"hosts": [redis_server.url]}}
    settings.CHANNEL_LAYERS = {"default": layer}
    backend = "llmchat.cache.SharedCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": redis_server.url}}
    client = Redis.from_url(redis_server.url)
    yield client
    await runtime.shutdown()
    await get_channel_layer().flush()
    client.close()
    assert not cache.on_failover


def listening(admin: Redis) -> set[str]:
    """Return the ids of the connections that have subscribed."""
    return {one["id"] for one in admin.client_list() if one["sub"] != "0"}


async def until(is_true: Any) -> None:
    async with asyncio.timeout(10):
        while not is_true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def echo(sender: str, body: Any) -> Any:
    return body


async def test_the_channel_layer_leaves_a_standby_when_there_is_a_primary(
    admin: Redis,
) -> None:
    own = runtime.get().mailbox
    assert own is not None
    own.on("echo", echo)
    other = Mailbox(get_channel_layer(), ONE)
    other.start()
    try:
        assert await other.ask(own.address, "echo", 1) == 1
        [before] = listening(admin)

        admin.execute_command("REPLICAOF", "127.0.0.1", "1")
        await in_cache(shared.set, "it", 1)
        assert await other.ask(own.address, "echo", 2) == 2  # it still works
        assert listening(admin) == {before}
        admin.execute_command("REPLICAOF", "NO", "ONE")

        await until(lambda: listening(admin) and before not in listening(admin))
        assert await other.ask(own.address, "echo", 3) == 3
    finally:
        await other.close()
