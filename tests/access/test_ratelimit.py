"""Messages a minute, counted for each user."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.test import override_settings

from llmchat.access.ratelimit import count_message
from llmchat.errors import ChatError


@pytest.fixture(autouse=True)
def three_a_minute(settings):
    settings.LLMCHAT = settings.LLMCHAT | {"messages_per_minute": 3}
    cache.clear()
    yield
    cache.clear()


async def test_the_message_after_the_last_allowed_one_is_refused():
    for _ in range(3):
        await count_message(1)
    with pytest.raises(ChatError) as refused:
        await count_message(1)
    assert refused.value.text == "Rate limit exceeded"
    assert (refused.value.code, refused.value.status) == ("rate_limited", 429)
    assert 1 <= refused.value.retry_after <= 60


async def test_each_user_has_a_count_of_their_own():
    for _ in range(3):
        await count_message(1)
    await count_message(2)


async def test_no_limit_refuses_nobody(settings):
    settings.LLMCHAT = settings.LLMCHAT | {"messages_per_minute": 0}
    for _ in range(10):
        await count_message(1)


async def test_nobody_is_refused_while_the_counters_cannot_be_reached(caplog):
    gone = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": "redis://127.0.0.1:1/0",  # nothing listens on this port
    }
    with override_settings(CACHES={"default": gone}):
        for _ in range(5):
            await count_message(1)
    assert "messages are not counted" in caplog.text
