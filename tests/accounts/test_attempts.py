"""Limits on attempts to log in."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from tests.support.log_in import log_in

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
