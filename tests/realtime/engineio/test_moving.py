"""A session that continues on another worker."""

from __future__ import annotations

from llmchat.realtime.engineio.events import CloseReason
from llmchat.realtime.engineio.session import Session
from tests.support.client_machine import OPTIONS, START, open_polling, open_upgraded

NOW = START


def moved(messages: list[str | bytes], ping_in_s: float = 3.0) -> Session:
    session = Session("sid", "websocket", NOW, OPTIONS)
    session.take_over(messages, ping_in_s, NOW)
    return session


def test_what_waits_goes_along_and_a_held_poll_is_answered() -> None:
    session = open_polling().session
    assert session.open_websocket(NOW)
    assert session.start_poll() == (True, [])
    session.receive_probe_frame("2probe", NOW)
    assert session.take_poll() == b"6"
    session.send_message("one", NOW)
    session.send_message(b"two", NOW)
    assert session.may_move

    messages = session.hand_over()

    assert messages == ["one", b"two"]
    assert session.is_closed
    assert session.next_deadline is None
    assert session.take_poll() is None
    other = moved(messages)
    assert [other.take_frame() for _ in range(3)] == ["4one", b"two", None]


def test_a_poll_that_is_held_is_answered_by_the_move() -> None:
    session = open_polling().session
    assert session.start_poll() == (True, [])
    assert session.hand_over() == []
    assert session.take_poll() == b"6"


def test_the_open_packet_is_not_sent_again() -> None:
    other = moved([])
    assert other.take_frame() is None
    assert other.transport == "websocket"


def test_it_pings_when_the_other_worker_would_have() -> None:
    session = open_polling().session
    later = NOW + OPTIONS.ping_interval_s - 1.5
    assert session.until_ping(later) == 1.5
    other = moved([], session.until_ping(later))
    assert other.next_deadline == NOW + 1.5
    other.tick(NOW + 1.5)
    assert other.take_frame() == "2"
    assert other.next_deadline == NOW + 1.5 + OPTIONS.ping_timeout_s


def test_a_ping_that_was_not_sent_is_sent_by_the_other_worker() -> None:
    session = open_polling().session
    now = NOW + OPTIONS.ping_interval_s
    session.tick(now)
    other = moved([], session.until_ping(now))
    other.tick(NOW)
    assert other.take_frame() == "2"


def test_the_pong_to_the_other_worker_s_ping_says_nothing_of_what_was_sent() -> None:
    session = open_polling().session
    now = NOW + OPTIONS.ping_interval_s
    session.tick(now)
    session.start_poll()
    assert session.take_poll() == b"2"
    other = moved(["last"], session.until_ping(now))
    assert [other.take_frame() for _ in range(2)] == ["4last", None]
    assert other.next_deadline == NOW + OPTIONS.ping_timeout_s
    other.receive_frame("3", NOW)
    assert other.confirmed_messages == 0
    assert other.next_deadline == NOW + OPTIONS.ping_interval_s


def test_a_client_that_has_much_to_read_is_pinged_at_once() -> None:
    """Its pong shows the emitters, which wait, that it has read everything."""
    other = moved(["x" * (OPTIONS.high_water_bytes + 1)])
    assert not other.writable
    assert [str(other.take_frame())[:1] for _ in range(2)] == ["2", "4"]


def test_it_does_not_move_while_a_post_is_under_way() -> None:
    session = open_polling().session
    session.start_post()
    assert not session.may_move
    session.receive_payload(b"\x1e".join([b"4x"] * 40), NOW)
    assert not session.may_move
    while session.payload_waits:
        session.receive_more(NOW)
    assert session.may_move


def test_one_with_a_websocket_or_an_end_does_not_move() -> None:
    assert not open_upgraded().session.may_move
    session = open_polling().session
    session.lose_answer()
    assert not session.may_move


def test_one_that_closes_hands_its_last_words_over() -> None:
    session = open_polling().session
    session.send_message("last", NOW)
    session.close(CloseReason.FORCED_CLOSE, NOW)
    assert session.is_closing
    assert not session.may_move

    assert session.hand_over() == ["last"]

    assert session.is_closed
    assert session.next_deadline is None
