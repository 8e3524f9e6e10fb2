"""Which hosts requests may name: remembered, but judged as Django judges them."""

from __future__ import annotations

from typing import Any

import pytest
from django.http.request import split_domain_port, validate_host
from hypothesis import given
from hypothesis import strategies as st

from llmchat import routing
from llmchat.realtime import Request
from llmchat.realtime.request import read_request

ALLOWED = ["chat.example.com", ".example.org", "127.0.0.1", "[::1]"]


def asked(*hosts: str, origin: str | None = None) -> Request:
    """Return a request with a `Host` header for each of these."""
    headers = [(b"host", host.encode("latin-1")) for host in hosts]
    if origin is not None:
        headers.append((b"origin", origin.encode("latin-1")))
    return read_request({"type": "http", "path": "/socket.io/", "headers": headers})


@pytest.mark.parametrize(
    "host",
    [
        "chat.example.com",
        "CHAT.Example.com:8443",
        "chat.example.com.",
        "a.example.org",
        "example.org",
        "[::1]:80",
    ],
)
def test_an_allowed_host_is_let_in_however_it_is_spelled(
    settings: Any, host: str
) -> None:
    settings.ALLOWED_HOSTS = ALLOWED

    assert [routing.judge_request(asked(host)) for _ in range(2)] == [None, None]


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        ":80",
        "evil.example",
        "chat.example.com.evil.example",
        "evilexample.org",
        "chat.example.com:port",
        "chat.example.com\n",
        "chat.example.com\r\nevil.example",
        " chat.example.com",
        "chat.example.com, chat.example.com",
        "chat.example.com@evil.example",
        "\xe9.example.org",
        "[::1",
    ],
)
def test_any_other_host_is_refused_each_time(settings: Any, host: str) -> None:
    settings.ALLOWED_HOSTS = ALLOWED

    answers = [routing.judge_request(asked(host)) for _ in range(2)]

    assert answers == ["Host not allowed"] * 2


def test_a_request_with_two_hosts_is_refused_even_if_both_are_allowed(
    settings: Any,
) -> None:
    settings.ALLOWED_HOSTS = ALLOWED
    both = ["chat.example.com", "a.example.org"]

    assert [routing.judge_request(asked(host)) for host in both] == [None, None]
    for hosts in (both, both[:1] * 2, ["chat.example.com", ""]):
        assert routing.judge_request(asked(*hosts)) == "Host not allowed"
    assert routing.judge_request(asked()) == "Host not allowed"


def test_changed_settings_count_at_once(settings: Any) -> None:
    request = asked("chat.example.com")
    settings.ALLOWED_HOSTS = ALLOWED
    assert routing.judge_request(request) is None

    settings.ALLOWED_HOSTS = ["other.example"]
    assert routing.judge_request(request) == "Host not allowed"

    settings.ALLOWED_HOSTS.append("chat.example.com")
    assert routing.judge_request(request) is None

    settings.ALLOWED_HOSTS = []
    assert routing.judge_request(request) == "Host not allowed"
    assert routing.judge_request(asked("localhost")) == "Host not allowed"

    settings.DEBUG = True
    assert routing.judge_request(asked("localhost")) is None


def test_an_origin_is_judged_although_the_host_is_known(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ALLOWED
    host = "chat.example.com"

    own = routing.judge_request(asked(host, origin=f"https://{host}"))
    foreign = routing.judge_request(asked(host, origin="https://evil.example"))

    assert (own, foreign) == (None, "Origin not allowed")


def test_a_flood_of_hosts_fills_no_memory(settings: Any) -> None:
    settings.ALLOWED_HOSTS = [".example.org"]
    remembered = routing._remembered_judgement.cache_info

    for number in range(500):
        host = f"{number}.example.org"
        assert routing.judge_request(asked(host)) is None
    assert remembered().currsize == remembered().maxsize == 256

    misses = remembered().misses
    long = "a" * 300
    assert routing.judge_request(asked(f"{long}.example.org")) is None
    assert routing.judge_request(asked(f"{long}.example.com")) == "Host not allowed"
    assert remembered().misses == misses


@given(
    st.text("ab.:[]1@, \t\r\n\x00\xe9", max_size=20), st.sampled_from(["", *ALLOWED])
)
def test_every_host_is_judged_as_django_does(odd: str, allowed: str) -> None:
    for host in (odd, allowed + odd, odd + allowed):
        domain, _ = split_domain_port(host)
        is_allowed = bool(domain) and validate_host(domain, ALLOWED)
        judged = routing._remembered_judgement(host, tuple(ALLOWED))
        assert judged is is_allowed
