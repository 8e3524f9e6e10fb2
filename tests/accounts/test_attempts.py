"""Limits on attempts to log in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.core.cache import caches
from django.test import Client

from accounts.models import User
from llmchat import cache as shared
from tests.support.log_in import log_in, post
from tests.support.redis_server import end

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_eleventh_attempt_on_an_account_is_over_the_limit(
    client: Client, user: User
) -> None:
    for _ in range(10):
        assert log_in(client, "ada", "wrong").status_code == 401

    answer = log_in(client, "ada")

    assert answer.status_code == 429
    assert answer.json() == {
        "error": "Rate limit exceeded",
        "code": "rate_limited",
        "retryAfter": int(answer.headers["Retry-After"]),
    }
    assert 1 <= answer.json()["retryAfter"] <= 60


def test_another_account_is_not_slowed_by_the_first(client: Client, user: User) -> None:
    for _ in range(11):
        log_in(client, "mallory", "wrong")

    assert log_in(client, "ada").status_code == 200


def test_one_address_cannot_try_account_after_account(
    client: Client, user: User, settings: Any
) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"login_attempts_per_minute": 2}
    for number in range(10):
        log_in(client, f"user{number}", "wrong")

    assert log_in(client, "ada").status_code == 429


@pytest.mark.parametrize(
    ("addresses", "another"),
    [
        ([f"192.0.2.{number}" for number in range(10)], "198.51.100.1"),
        (["2001:db8::1", "2001:db8::2"], "2001:db8::99"),
    ],
    ids=["many addresses", "one IPv6 network"],
)
def test_another_address_does_not_evade_the_limit(
    client: Client, user: User, settings: Any, addresses: list[str], another: str
) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"login_attempts_per_minute": 2}
    for address in addresses:
        client.defaults["REMOTE_ADDR"] = address
        log_in(client, "ada", "wrong")
    client.defaults["REMOTE_ADDR"] = another

    assert log_in(client, "ada").status_code == 429


def test_mapped_addresses_count_as_what_they_stand_for(
    client: Client, user: User, settings: Any
) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"login_attempts_per_minute": 2}
    statuses = []
    for address in ("::ffff:192.0.2.7", "192.0.2.7", "::ffff:c000:207"):
        client.defaults["REMOTE_ADDR"] = address
        statuses.append(log_in(client, "ada", "wrong").status_code)
    client.defaults["REMOTE_ADDR"] = "::ffff:192.0.2.8"

    assert statuses == [401, 401, 429]
    assert log_in(client, "ada").status_code == 200


@pytest.mark.parametrize(
    ("first", "same", "other"),
    [
        ("192.0.2.7:4711", "192.0.2.7:4712", "192.0.2.8:4711"),
        ("[2001:db8::1]:4711", "[2001:db8::2]:1", "[2001:db8:1::1]:4711"),
        ("2001:db8::1", "[2001:db8::1]:80", "2001:db8:1::1"),
    ],
)
def test_an_address_with_a_port_counts_as_the_address(
    client: Client, user: User, settings: Any, first: str, same: str, other: str
) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"login_attempts_per_minute": 2}
    statuses = []
    for address in (first, first, same):
        client.defaults["REMOTE_ADDR"] = address
        statuses.append(log_in(client, "ada", "wrong").status_code)
    client.defaults["REMOTE_ADDR"] = other

    assert statuses == [401, 401, 429]
    assert log_in(client, "ada").status_code == 200


def test_the_limit_can_be_switched_off(
    client: Client, user: User, settings: Any
) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"login_attempts_per_minute": 0}
    for _ in range(20):
        log_in(client, "ada", "wrong")

    assert log_in(client, "ada").status_code == 200


@pytest.mark.parametrize("path", ["/admin/login/", "/admin/login/?next=/admin/"])
def test_the_admin_log_in_has_the_same_limit(
    client: Client, user: User, path: str
) -> None:
    form = {"username": "ada", "password": "wrong"}
    for _ in range(10):
        assert client.post(path, form).status_code == 200

    answer = client.post(path, form)

    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1


# --- While the name of Redis is looked up ------------------------------------------

GUESSES = 10
# Far longer than a log-in may take.
NEVER_S = 20.0


@pytest.fixture
def looked_up_for_ever(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """A Redis whose name is looked up until the test is over; yield the look-ups."""
    asked: list[str] = []
    over = threading.Event()

    def look_up(connection: redis.Connection) -> None:
        asked.append(threading.current_thread().name)
        over.wait(NEVER_S)
        raise redis.ConnectionError("the test is over")

    monkeypatch.setattr(redis.Connection, "_connect", look_up)
    monkeypatch.setattr(shared, "DEADLINE_S", 0.2)
    backend, url = "llmchat.cache.SharedCache", "redis://looked-up-for-ever.invalid/0"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": url}}
    yield asked
    caches["default"].clear()
    over.set()
    # The threads of the cache are free again: the next test needs them.
    both = threading.Barrier(3)
    for _ in range(2):
        shared.in_cache_later(both.wait, 10)
    both.wait(10)
    end(caches["default"].outage)
    shared.link.cache_clear()


def by_api(client: Client, password: str) -> int:
    return log_in(client, "ada", password).status_code


def by_admin(client: Client, password: str) -> int:
    form = {"username": "ada", "password": password}
    return client.post("/admin/login/", form).status_code


def by_registering(client: Client, password: str) -> int:
    body = {"username": "ada", "password": password}
    return post(client, "/auth/register", body).status_code


@pytest.mark.parametrize("attempt", [by_api, by_admin, by_registering])
def test_log_ins_do_not_wait_for_the_look_up_of_redis(
    client: Client,
    user: User,
    settings: Any,
    looked_up_for_ever: list[str],
    attempt: Callable[[Client, str], int],
) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"registration": True}
    began = time.monotonic()
    statuses = {attempt(client, "wrong") for _ in range(GUESSES)}

    assert time.monotonic() - began < NEVER_S
    assert 429 not in statuses
    # The limit holds, counted by this process.
    assert attempt(client, "wrong") == 429
    # One call has waited. The others knew of the outage; only the probe still looks.
    assert caches["default"].outage.lasts
    waited = [name for name in looked_up_for_ever if name.startswith("cache")]
    assert len(waited) == 1
