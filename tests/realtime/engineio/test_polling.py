"""HTTP long-polling: held GETs, POSTs, and how they end a session."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmchat.realtime.engineio.events import Closed, CloseReason, MessageReceived
from llmchat.realtime.engineio.payload import SEPARATOR
from llmchat.realtime.engineio.session import PACKETS_AT_ONCE, Session
from tests.support.client_machine import (
    OPTIONS,
    START,
    closes_of,
    messages_of,
    open_polling,
)

NOW = START


def hold_poll(session: Session) -> None:
    assert session.start_poll() == (True, [])
    assert session.take_poll() is None


def post(session: Session, body: bytes) -> list[object]:
    assert session.start_post() == (True, [])
    events = session.receive_payload(body, NOW)
    while session.payload_waits:
        events += session.receive_more(NOW)
    return list(events)


def test_the_handshake_is_answered_with_the_open_packet() -> None:
    session = Session("sid", "polling", NOW, OPTIONS)

    session.start_poll()
    body = session.take_poll()

    assert body is not None
    assert body.startswith(b'0{"sid":"sid",')
    assert session.transport == "polling"
    assert session.lose_poll() == []


def test_packets_wait_for_the_next_poll_in_order() -> None:
    session = open_polling().session
    session.send_message("a", NOW)
    session.send_message(b"\x01\x02\x03\x04", NOW)
    session.send_message("b", NOW)

    session.start_poll()

    assert session.take_poll() == b"4a\x1ebAQIDBA==\x1e4b"


def test_a_held_poll_is_answered_when_there_is_something() -> None:
    session = open_polling().session
    hold_poll(session)

    session.send_message("a", NOW)

    assert session.take_poll() == b"4a"
    assert session.take_poll() is None


def test_an_answer_holds_only_so_many_packets() -> None:
    client = open_polling(replace(OPTIONS, max_packets_in_answer=3))
    for number in range(7):
        client.session.send_message(str(number), NOW)

    sizes = []
    for _ in range(3):
        client.poll()
        sizes.append(len(client.received))

    assert sizes == [3, 6, 7]
    assert client.received == [str(number) for number in range(7)]


def test_a_second_poll_ends_the_session_and_lets_the_first_go() -> None:
    session = open_polling().session
    hold_poll(session)

    accepted, events = session.start_poll()

    assert not accepted
    assert events == [Closed(CloseReason.TRANSPORT_ERROR)]
    assert session.take_poll() == b"1"
    assert session.is_closed


def test_a_poll_that_is_lost_ends_the_session() -> None:
    session = open_polling().session
    hold_poll(session)

    assert session.lose_poll() == [Closed(CloseReason.TRANSPORT_ERROR)]
    assert session.take_poll() is None


def test_a_poll_that_was_answered_cannot_be_lost() -> None:
    session = open_polling().session
    hold_poll(session)
    session.send_message("a", NOW)
    session.take_poll()

    assert session.lose_poll() == []
    assert session.is_open


def test_messages_of_a_post_come_in_order() -> None:
    session = open_polling().session

    assert post(session, b"4a\x1ebAQI=\x1e4\xe2\x82\xac") == [
        MessageReceived("a"),
        MessageReceived(b"\x01\x02"),
        MessageReceived("€"),
    ]


def test_a_second_post_ends_the_session() -> None:
    session = open_polling().session
    hold_poll(session)
    session.start_post()

    accepted, events = session.start_post()

    assert not accepted
    assert events == [Closed(CloseReason.TRANSPORT_ERROR)]
    assert session.take_poll() == b"1"


def test_one_post_may_follow_another() -> None:
    session = open_polling().session

    for _ in range(3):
        assert post(session, b"4a") == [MessageReceived("a")]


def test_a_post_that_is_lost_ends_the_session() -> None:
    session = open_polling().session
    session.start_post()

    assert session.lose_post() == [Closed(CloseReason.TRANSPORT_ERROR)]


@pytest.mark.parametrize(
    ("body", "before"),
    [
        (b"", []),
        (b"abc", []),
        (b"4a\x1eabc\x1e4b", ["a"]),
        (b"4a\x1e\x1e4b", ["a"]),
        (b"4a\x1e4b\x1e", ["a", "b"]),
        (b"4\xff", []),
        (b"b?", []),
    ],
)
def test_an_illegal_packet_ends_the_session_but_not_what_came_before(
    body: bytes, before: list[str]
) -> None:
    session = open_polling().session
    hold_poll(session)

    events = post(session, body)

    assert events == [
        *map(MessageReceived, before),
        Closed(CloseReason.PARSE_ERROR),
    ]
    assert session.take_poll() == b"1"


def test_too_many_packets_in_a_payload_end_the_session() -> None:
    session = open_polling(replace(OPTIONS, max_packets_in_payload=3)).session

    assert post(session, b"4\x1e4\x1e4\x1e4") == [Closed(CloseReason.PARSE_ERROR)]


def test_a_close_packet_lets_the_held_poll_go_with_a_noop() -> None:
    session = open_polling().session
    hold_poll(session)

    assert post(session, b"1") == [Closed(CloseReason.TRANSPORT_CLOSE)]
    assert session.take_poll() == b"6"


def test_a_close_packet_counts_after_the_messages_before_it() -> None:
    session = open_polling().session

    assert post(session, b"4a\x1e1\x1e4b\x1e9") == [
        MessageReceived("a"),
        Closed(CloseReason.TRANSPORT_CLOSE),
    ]


def test_a_ping_from_the_client_ends_the_session() -> None:
    session = open_polling().session
    hold_poll(session)

    assert post(session, b"2") == [Closed(CloseReason.TRANSPORT_ERROR)]
    assert session.take_poll() == b"1"


@pytest.mark.parametrize("body", [b"0", b"5", b"6", b"3probe", b"0{}"])
def test_packets_without_meaning_are_ignored(body: bytes) -> None:
    session = open_polling().session

    assert post(session, body) == []
    assert session.is_open


def test_websocket_calls_mean_nothing_to_a_polling_session() -> None:
    session = open_polling().session
    session.send_message("a", NOW)

    assert session.receive_frame("4a", NOW) == []
    assert session.lose_websocket() == []
    assert session.take_frame() is None
    assert session.receive_probe_frame("5", NOW) == []
    assert session.is_open


# Ended from this side.


def test_a_held_poll_gets_the_rest_and_the_next_one_the_close() -> None:
    session = open_polling().session
    hold_poll(session)
    session.send_message("a", NOW)

    assert session.close(CloseReason.FORCED_CLOSE, NOW) == [
        Closed(CloseReason.FORCED_CLOSE)
    ]
    assert not session.is_open
    assert session.take_poll() == b"4a"
    assert not session.is_closed
    assert session.start_poll() == (True, [])
    assert session.take_poll() == b"1"
    assert session.is_closed


def test_a_held_poll_gets_the_close_where_nothing_waits() -> None:
    session = open_polling().session
    hold_poll(session)

    session.close(CloseReason.FORCED_CLOSE, NOW)

    assert session.take_poll() == b"1"
    assert session.is_closed


def test_the_next_polls_get_the_rest_and_the_close() -> None:
    session = open_polling().session
    session.send_message("a", NOW)
    events = session.close(CloseReason.FORCED_CLOSE, NOW)

    assert events == [Closed(CloseReason.FORCED_CLOSE)]
    assert not session.is_closed
    assert session.start_poll() == (True, [])
    assert session.take_poll() == b"4a"
    assert not session.is_closed
    assert session.start_poll() == (True, [])
    assert session.take_poll() == b"1"
    assert session.is_closed
    assert session.next_deadline is None


def test_what_is_left_at_the_end_comes_in_bounded_answers() -> None:
    session = open_polling(replace(OPTIONS, max_packets_in_answer=2)).session
    for text in "abcd":
        session.send_message(text, NOW)
    session.close(CloseReason.FORCED_CLOSE, NOW)

    answers = []
    while not session.is_closed:
        session.start_poll()
        answers.append(session.take_poll())

    assert answers == [b"4a\x1e4b", b"4c\x1e4d", b"1"]


def test_a_closing_session_waits_only_so_long() -> None:
    client = open_polling()
    client.session.send_message("a", NOW)
    client.session.close(CloseReason.FORCED_CLOSE, NOW)

    assert client.session.next_deadline == NOW + OPTIONS.closing_timeout_s
    client.sleep(OPTIONS.closing_timeout_s - 0.001)
    assert not client.session.is_closed
    client.sleep(0.001)
    assert client.session.is_closed
    assert client.events == []


def test_a_closing_session_takes_nothing_in() -> None:
    session = open_polling().session
    session.close(CloseReason.FORCED_CLOSE, NOW)

    assert post(session, b"4a\x1e3\x1e2") == []
    assert session.send_message("b", NOW) == []
    assert session.close(CloseReason.SERVER_SHUTTING_DOWN, NOW) == []
    session.start_poll()
    assert session.take_poll() == b"1"


def test_a_closing_session_whose_client_closes_too_is_over() -> None:
    session = open_polling().session
    session.close(CloseReason.FORCED_CLOSE, NOW)

    assert post(session, b"1") == []
    assert session.is_closed


def test_a_lost_post_answers_a_held_poll_and_drops_what_waits() -> None:
    session = open_polling().session
    hold_poll(session)
    session.send_message("a", NOW)

    assert session.lose_post() == [Closed(CloseReason.TRANSPORT_ERROR)]
    assert session.take_poll() == b"1"
    assert session.start_poll() == (False, [])
    assert session.take_poll() is None


def test_an_answer_that_is_lost_ends_the_session_and_confirms_nothing() -> None:
    session = open_polling().session
    hold_poll(session)
    session.send_message("a", NOW)
    assert session.take_poll() == b"4a"

    assert session.lose_answer() == [Closed(CloseReason.TRANSPORT_ERROR)]

    assert session.lose_answer() == []
    assert session.confirmed_messages == 0
    assert session.start_poll() == (False, [])


def test_a_payload_is_taken_in_by_slices_and_its_post_ends_with_the_last() -> None:
    session = open_polling().session
    texts = [str(number) for number in range(2 * PACKETS_AT_ONCE)]
    body = SEPARATOR.join(f"4{text}" for text in texts)
    session.start_post()

    slices = [messages_of(session.receive_payload(body.encode(), NOW))]
    while session.payload_waits:
        slices.append(messages_of(session.receive_more(NOW)))

    assert [len(messages) for messages in slices] == [PACKETS_AT_ONCE] * 2 + [0]
    assert [text for part in slices for text in part] == [
        str(number) for number in range(2 * PACKETS_AT_ONCE)
    ]
    assert session.start_post() == (True, [])


def test_a_post_beside_one_that_is_still_taken_in_ends_the_session() -> None:
    session = open_polling().session
    session.start_post()
    session.receive_payload(SEPARATOR.join(["4x"] * 100).encode(), NOW)

    assert session.start_post() == (False, [Closed(CloseReason.TRANSPORT_ERROR)])
    assert session.receive_more(NOW) == []
    assert not session.payload_waits


def test_a_session_ends_once_whatever_happens_at_the_same_time() -> None:
    session = open_polling().session
    hold_poll(session)
    session.start_post()

    events = [
        *session.receive_payload(b"4a\x1e1\x1e2\x1eabc", NOW),
        *session.start_poll()[1],
        *session.lose_poll(),
        *session.lose_post(),
        *session.lose_websocket(),
        *session.close(CloseReason.FORCED_CLOSE, NOW),
        *session.tick(NOW + 1000),
    ]

    assert messages_of(events) == ["a"]
    assert closes_of(events) == [Closed(CloseReason.TRANSPORT_CLOSE)]
