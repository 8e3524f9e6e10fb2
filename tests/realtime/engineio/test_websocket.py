"""Sessions whose transport is a WebSocket."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmchat.realtime.engineio.events import Closed, CloseReason, MessageReceived
from llmchat.realtime.engineio.session import CLOSE_NORMAL, CLOSE_TOO_BIG, Session
from tests.support.client_machine import OPTIONS, START, closes_of, open_by_websocket

NOW = START


def test_the_first_frame_is_the_open_packet_without_upgrades() -> None:
    session = Session("sid", "websocket", NOW, OPTIONS)

    frame = session.take_frame()

    assert isinstance(frame, str)
    assert frame.startswith('0{"sid":"sid","upgrades":[],')
    assert session.transport == "websocket"


def test_a_frame_carries_one_packet() -> None:
    session = open_by_websocket().session
    session.send_message("a", NOW)
    session.send_message(b"\x01", NOW)
    session.send_message(b"", NOW)

    frames = [session.take_frame() for _ in range(4)]

    assert frames == ["4a", b"\x01", "b", None]


def test_a_client_without_binary_gets_base64() -> None:
    session = open_by_websocket(base64_only=True).session
    session.send_message(b"\x01\x02\x03\x04", NOW)

    assert session.take_frame() == "bAQIDBA=="


@pytest.mark.parametrize(
    ("frame", "data"),
    [
        ("4hello", "hello"),
        ("4", ""),
        (b"\x01\x02", b"\x01\x02"),
        (b"", b""),
        ("bAQI=", b"\x01\x02"),
        ("b", b""),
    ],
)
def test_a_message_is_received(frame: str | bytes, data: str | bytes) -> None:
    session = open_by_websocket().session

    assert session.receive_frame(frame, NOW) == [MessageReceived(data)]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("abc", CloseReason.PARSE_ERROR),
        ("", CloseReason.PARSE_ERROR),
        ("b?", CloseReason.PARSE_ERROR),
        ("4\ud800", CloseReason.PARSE_ERROR),
        ("2", CloseReason.TRANSPORT_ERROR),
        ("2probe", CloseReason.TRANSPORT_ERROR),
        ("1", CloseReason.TRANSPORT_CLOSE),
    ],
)
def test_a_frame_ends_the_session(frame: str, reason: CloseReason) -> None:
    session = open_by_websocket().session

    assert session.receive_frame(frame, NOW) == [Closed(reason)]
    assert session.is_closed
    assert session.close_code == CLOSE_NORMAL


@pytest.mark.parametrize("frame", ["0", "5", "6", "3", "3probe"])
def test_a_frame_without_meaning_is_ignored(frame: str) -> None:
    session = open_by_websocket().session

    assert session.receive_frame(frame, NOW) == []
    assert session.take_frame() is None
    assert session.is_open


@pytest.mark.parametrize("frame", ["4" + "x" * 99, "4" + "é" * 49 + "x", b"x" * 100])
def test_a_frame_may_be_as_large_as_announced(frame: str | bytes) -> None:
    session = open_by_websocket(replace(OPTIONS, max_payload_bytes=100)).session

    assert len(session.receive_frame(frame, NOW)) == 1
    assert session.is_open


@pytest.mark.parametrize("frame", ["4" + "x" * 100, "4" + "é" * 50, b"x" * 101])
def test_a_larger_frame_ends_the_session_with_its_code(frame: str | bytes) -> None:
    session = open_by_websocket(replace(OPTIONS, max_payload_bytes=100)).session

    assert session.receive_frame(frame, NOW) == [Closed(CloseReason.TRANSPORT_ERROR)]
    assert session.close_code == CLOSE_TOO_BIG


def test_a_lost_websocket_ends_the_session() -> None:
    session = open_by_websocket().session
    session.send_message("a", NOW)

    assert session.lose_websocket() == [Closed(CloseReason.TRANSPORT_CLOSE)]
    assert session.take_frame() is None
    assert session.next_deadline is None


def test_a_close_from_this_side_comes_after_what_is_queued() -> None:
    session = open_by_websocket().session
    session.send_message("a", NOW)
    session.send_message("b", NOW)

    events = session.close(CloseReason.FORCED_CLOSE, NOW)

    assert events == [Closed(CloseReason.FORCED_CLOSE)]
    assert session.is_closed
    assert [session.take_frame() for _ in range(3)] == ["4a", "4b", None]


def test_what_is_queued_is_dropped_when_the_websocket_is_lost_after_all() -> None:
    session = open_by_websocket().session
    session.send_message("a", NOW)
    session.close(CloseReason.FORCED_CLOSE, NOW)

    assert session.lose_websocket() == []


def test_an_ended_session_takes_nothing_in() -> None:
    session = open_by_websocket(replace(OPTIONS, max_payload_bytes=100)).session
    events = session.receive_frame("1", NOW)

    for frame in ("4a", "2", "abc", "4" + "x" * 200, b"\x00", "3"):
        events += session.receive_frame(frame, NOW)
    events += session.send_message("late", NOW)

    assert events == closes_of(events)
    assert len(events) == 1
    assert session.close_code == CLOSE_NORMAL
    assert session.next_deadline is None


def test_polling_calls_mean_nothing_to_a_websocket_session() -> None:
    session = open_by_websocket().session
    session.send_message("a", NOW)

    assert session.start_poll() == (False, [])
    assert session.take_poll() is None
    assert session.lose_poll() == []
    assert session.take_frame() == "4a"


def test_no_other_websocket_is_wanted() -> None:
    session = open_by_websocket().session

    assert not session.open_websocket(NOW)
    assert session.is_open
