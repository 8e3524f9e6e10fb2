"""Messages that a session passes on without queuing them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from llmchat.realtime.engineio.events import CloseReason
from llmchat.realtime.engineio.session import BYTES_AT_ONCE, Session
from tests.support.client_machine import (
    OPTIONS,
    START,
    open_by_websocket,
    open_polling,
)

NOW = START
SMALL = replace(OPTIONS, high_water_bytes=100)


def test_texts_become_frames_that_count_as_sent() -> None:
    session = open_by_websocket().session

    assert session.pass_texts(["one", "zwö"]) == ["4one", "4zwö"]

    assert session.take_frame() is None
    assert session.unconfirmed_bytes == 3 + 4
    session.tick(NOW + OPTIONS.ping_interval_s)
    assert session.take_frame() == "2"
    session.receive_frame("3", NOW)
    assert (session.unconfirmed_bytes, session.confirmed_messages) == (0, 2)


def queued() -> Session:
    session = open_by_websocket().session
    session.send_message("first", NOW)
    return session


def closing() -> Session:
    client = open_polling()
    client.session.close(CloseReason.FORCED_CLOSE, NOW)
    return client.session


def polling() -> Session:
    return open_polling().session


def probed() -> Session:
    """Return a session that has been upgraded before its probe was answered."""
    session = open_polling().session
    session.open_websocket(NOW)
    session.receive_probe_frame("2probe", NOW)
    session.receive_probe_frame("5", NOW)
    return session


def closed() -> Session:
    session = open_by_websocket().session
    session.close(CloseReason.FORCED_CLOSE, NOW)
    return session


def lagging() -> Session:
    session = open_by_websocket(SMALL).session
    session.pass_texts(["x" * 99])
    return session


@pytest.mark.parametrize("make", [queued, closing, polling, probed, closed, lagging])
def test_what_has_to_wait_is_not_passed(make: Callable[[], Session]) -> None:
    session = make()
    before = session.unconfirmed_bytes

    assert session.pass_texts(["one", "two"]) is None

    assert session.unconfirmed_bytes == before


@pytest.mark.parametrize(
    "messages", [["one", b"\x00"], ["x" * BYTES_AT_ONCE, "x"]], ids=["bytes", "long"]
)
def test_only_a_few_texts_are_passed(messages: list[str | bytes]) -> None:
    session = open_by_websocket().session

    assert session.pass_texts(messages) is None

    assert session.unconfirmed_bytes == 0


def test_half_of_a_surrogate_pair_is_refused_when_it_is_passed() -> None:
    session = open_by_websocket().session

    with pytest.raises(UnicodeEncodeError):
        session.pass_texts(["one", "\ud83d"])

    assert session.unconfirmed_bytes == 0
