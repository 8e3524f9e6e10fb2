"""Messages per minute, counted for each user."""

from __future__ import annotations

import asyncio
import threading

import pytest
from django.core.cache import cache, caches
from redis import Redis

from accounts.verified import Verified
from llmchat import cache as shared
from llmchat.access import ratelimit
from llmchat.access.ratelimit import count_message, count_obeyed
from llmchat.errors import ChatError
from tests.support.limits import hold_the_minute
from tests.support.redis_server import end

REFUSED = "Rate limit exceeded"


@pytest.fixture(autouse=True)
def three_a_minute(settings, monkeypatch):
    settings.LLMCHAT = settings.LLMCHAT | {"messages_per_minute": 3}
    hold_the_minute(monkeypatch)
    yield
    cache.clear()


@pytest.fixture
def redis(settings, redis_server):
    """A real Redis as the cache, at an address that no test used before."""
    before = settings.CACHES
    backend = "llmchat.cache.SharedCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": redis_server.url}}
    yield redis_server
    end(caches["default"].outage)
    settings.CACHES = before


@pytest.fixture
def asked(redis, monkeypatch):
    """The commands that Redis is sent, except for probes."""
    names, client = [], caches["default"]._link._redis

    class Asked:
        def __getattr__(self, name):
            if name != "get_client":
                names.append(name)
            return getattr(client, name)

    monkeypatch.setattr(caches["default"]._link, "_redis", Asked())
    return names


async def counted_until_refused(user_id: int = 1) -> int:
    """Return how many messages of the user are allowed, 10 at most."""
    for number in range(10):
        try:
            await count_message(sender(user_id))
        except ChatError:
            return number
    return 10


async def until(is_true) -> None:
    async with asyncio.timeout(10):
        while True:
            if is_true():
                return
            await asyncio.sleep(0.02)


def sender(user_id: int, key_id: int | None = None, limit: int | None = None):
    return Verified(user_id, 0, key_id=key_id, messages_per_minute=limit)


def outage():
    return caches["default"].outage


async def test_the_message_after_the_last_allowed_one_is_refused():
    for _ in range(3):
        await count_message(sender(1))
    with pytest.raises(ChatError) as refused:
        await count_message(sender(1))
    assert refused.value.text == REFUSED
    assert (refused.value.code, refused.value.status) == ("rate_limited", 429)
    assert 1 <= refused.value.retry_after <= 60


async def test_each_user_has_a_count_of_their_own():
    for _ in range(3):
        await count_message(sender(1))
    await count_message(sender(2))


async def test_no_limit_refuses_nobody(settings):
    settings.LLMCHAT = settings.LLMCHAT | {"messages_per_minute": 0}
    for _ in range(10):
        await count_message(sender(1))
        count_obeyed(sender(1))


async def test_what_is_obeyed_counts_all_the_same():
    for _ in range(3):
        count_obeyed(sender(1))
    assert await counted_until_refused() == 0


async def test_redis_counts_for_all_processes(redis):
    await count_message(sender(1))
    # As another process would see it.
    shared.link.cache_clear()
    del caches["default"]
    assert await counted_until_refused() == 2


async def test_what_is_obeyed_counts_in_redis(redis):
    for _ in range(3):
        count_obeyed(sender(1))
    # When both threads have reached the barrier, all earlier calls are finished.
    both = threading.Barrier(2)
    await asyncio.gather(shared.in_cache(both.wait), shared.in_cache(both.wait))
    assert await counted_until_refused() == 0


async def test_while_redis_hangs_the_process_counts_for_itself(redis, asked, caplog):
    await count_message(sender(1))
    asked.clear()
    with redis.stopped():
        assert await counted_until_refused() == 3
        # Only one timeout: from then on the outage is known, and no call waits.
        assert len(asked) == 1
        assert await counted_until_refused(2) == 3
        assert len(asked) == 1
    await until(lambda: not outage().lasts)
    assert await counted_until_refused() == 2
    warned = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [record.args[:2] for record in warned] == [
        (f"Redis at 127.0.0.1:{redis.port}", "each process uses its own memory")
    ]


async def test_twenty_users_wait_for_one_time_out_together(redis, asked):
    await asyncio.gather(*(count_message(sender(number)) for number in range(20)))
    asked.clear()
    with redis.stopped():
        await asyncio.gather(*(count_message(sender(number)) for number in range(20)))
        # One for each of the threads that ask Redis.
        assert 1 <= len(asked) <= shared._executor._max_workers


async def test_what_is_obeyed_does_not_wait_for_redis(redis):
    go, both = threading.Event(), threading.Barrier(3)
    for _ in range(2):
        shared.in_cache_later(lambda: (both.wait(10), go.wait(10)))
    await asyncio.to_thread(both.wait, 10)
    # No thread is free to ask Redis.
    for _ in range(20):
        count_obeyed(sender(1))
    assert shared._room._value == shared._MAX_WAITING - 22
    go.set()
    await until(lambda: shared._room._value == shared._MAX_WAITING)
    assert await counted_until_refused() == 0


async def test_only_so_many_counts_wait(monkeypatch):
    ran, held = [], threading.Event()
    monkeypatch.setattr(shared, "_room", threading.BoundedSemaphore(3))
    for number in range(10):
        shared.in_cache_later(
            lambda number=number: held.wait(10) and ran.append(number)
        )
    held.set()
    await until(lambda: shared._room._value == 3)
    assert sorted(ran) == [0, 1, 2]


async def test_a_redis_that_dies_and_comes_back_counts_again(redis, caplog):
    caplog.set_level("INFO")
    await count_message(sender(1))
    for _ in range(2):
        redis.kill()
        assert await counted_until_refused() <= 3
        assert outage().lasts
        redis.start()
        await until(lambda: not outage().lasts)
        assert await counted_until_refused(2) == 3
    told = [record.getMessage() for record in caplog.records]
    assert sum("does not answer" in line for line in told) == 2, told
    assert told.count(f"Redis at 127.0.0.1:{redis.port} answers again") == 2


@pytest.mark.parametrize(
    ("refuse", "take"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    ],
    ids=["standby", "full"],
)
async def test_a_redis_that_takes_no_writes_is_away(redis, caplog, refuse, take):
    """It still answers a PING all the time."""
    caplog.set_level("INFO", "llmchat.outages")
    admin = Redis.from_url(redis.url)
    await count_message(sender(1))
    admin.execute_command(*refuse)

    for number in (1, 2):
        assert await counted_until_refused(number) == 3
        assert outage().lasts
        assert not await shared.in_cache(caches["default"].is_shared)
    assert len(caplog.messages) == 1, caplog.messages

    admin.execute_command(*take)
    await until(lambda: not outage().lasts)
    admin.close()
    assert caplog.messages[1:] == [f"Redis at 127.0.0.1:{redis.port} answers again"]
    assert await counted_until_refused(3) == 3


async def test_readiness_finds_a_redis_that_takes_no_writes(redis):
    admin = Redis.from_url(redis.url)
    assert await shared.in_cache(caches["default"].is_shared)
    admin.execute_command("CONFIG", "SET", "maxmemory", "1")
    admin.close()
    assert not await shared.in_cache(caches["default"].is_shared)
    assert outage().lasts


async def test_after_a_failover_no_connection_to_the_standby_is_kept(redis):
    def connection_id() -> int:
        return caches["default"]._link._redis.get_client(write=True).client_id()

    admin = Redis.from_url(redis.url)
    await count_message(sender(1))
    first = connection_id()
    admin.execute_command("REPLICAOF", "127.0.0.1", "1")
    await count_message(sender(1))
    admin.execute_command("REPLICAOF", "NO", "ONE")
    admin.close()
    await until(lambda: not outage().lasts)
    assert connection_id() > first


async def test_a_count_that_began_elsewhere_goes_on_from_nothing(redis):
    with pytest.raises(ValueError, match="not found"):
        caches["default"]._cache.incr("x", 1)
    assert caches["default"].incr("x") == 1
    assert caches["default"].incr("x") == 2


async def test_a_redis_whose_name_is_looked_up_for_ever_is_away(redis, monkeypatch):
    monkeypatch.setattr(shared, "DEADLINE_S", 0.1)
    held = asyncio.Event()
    loop = asyncio.get_running_loop()
    real = ratelimit._retry_after

    def slow(*counter):
        if not outage().lasts:
            asyncio.run_coroutine_threadsafe(held.wait(), loop).result()
        return real(*counter)

    monkeypatch.setattr(ratelimit, "_retry_after", slow)
    await count_message(sender(1))
    assert outage().lasts
    held.set()
    await until(lambda: not outage().lasts)


async def test_a_key_has_a_limit_of_its_own_beside_that_of_its_user():
    program = sender(1, key_id=7, limit=1)
    await count_message(program)
    for _ in range(5):
        with pytest.raises(ChatError) as refused:
            await count_message(program)
        assert 1 <= refused.value.retry_after <= 60
    # The messages refused to the program have not counted for its user.
    await count_message(sender(1, key_id=8, limit=5))
    await count_message(sender(1))
    assert await counted_until_refused() == 0
    with pytest.raises(ChatError):
        await count_message(sender(1, key_id=9, limit=5))


async def test_a_limit_of_a_key_holds_where_users_have_none(settings):
    settings.LLMCHAT = settings.LLMCHAT | {"messages_per_minute": 0}
    program = sender(1, key_id=7, limit=2)
    count_obeyed(program)
    await count_message(program)
    with pytest.raises(ChatError):
        await count_message(program)
    await count_message(sender(1, key_id=8))


async def test_a_limit_of_a_key_is_counted_in_redis(redis):
    program = sender(1, key_id=7, limit=2)
    await count_message(program)
    shared.link.cache_clear()
    del caches["default"]
    await count_message(program)
    with pytest.raises(ChatError):
        await count_message(program)
