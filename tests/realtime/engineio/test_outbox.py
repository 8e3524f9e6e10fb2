"""What is on its way to a peer, and what happens to a peer that does not take it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from llmchat.realtime.engineio.events import Closed, CloseReason, Upgraded
from llmchat.realtime.engineio.handshake import Options
from llmchat.realtime.engineio.outbox import Outbox
from llmchat.realtime.engineio.packet import Packet, PacketType
from tests.support.client_machine import (
    OPTIONS,
    START,
    ClientMachine,
    open_by_websocket,
    open_polling,
    open_upgraded,
)

NOW = START
SMALL = replace(OPTIONS, high_water_bytes=100, max_unconfirmed_bytes=400)
TEXT = "x" * 60


def test_bytes_are_counted_as_they_are_on_the_wire() -> None:
    session = open_by_websocket().session

    session.send_message("é€", NOW)
    session.send_message(b"\x00" * 10, NOW)

    assert session.unconfirmed_bytes == 5 + 10


def test_half_of_a_surrogate_pair_is_refused_when_it_is_sent() -> None:
    session = open_by_websocket().session

    with pytest.raises(UnicodeEncodeError):
        session.send_message("\ud83d", NOW)

    assert session.unconfirmed_bytes == 0
    assert session.is_open


def test_what_was_taken_is_not_confirmed_yet() -> None:
    session = open_by_websocket().session
    session.send_message(TEXT, NOW)
    session.take_frame()

    assert session.unconfirmed_bytes == 60
    assert session.confirmed_messages == 0


def test_a_pong_confirms_what_went_before_its_ping() -> None:
    session = open_by_websocket().session
    session.send_message(TEXT, NOW)
    session.take_frame()
    session.tick(NOW + OPTIONS.ping_interval_s)
    session.send_message(TEXT, NOW)
    assert session.take_frame() == "2"
    session.take_frame()

    session.receive_frame("3", NOW)

    assert session.confirmed_messages == 1
    assert session.unconfirmed_bytes == 60


def test_an_unasked_pong_confirms_nothing() -> None:
    session = open_by_websocket().session
    session.send_message(TEXT, NOW)
    session.take_frame()

    session.receive_frame("3", NOW)

    assert session.confirmed_messages == 0


def test_the_next_poll_confirms_the_last_answer() -> None:
    client = open_polling(replace(OPTIONS, max_packets_in_answer=2))
    session = client.session
    for _ in range(3):
        session.send_message(TEXT, NOW)

    client.poll()
    assert (session.confirmed_messages, session.unconfirmed_bytes) == (0, 180)
    client.poll()
    assert (session.confirmed_messages, session.unconfirmed_bytes) == (2, 60)
    client.poll()
    assert (session.confirmed_messages, session.unconfirmed_bytes) == (3, 0)


def test_a_confirmation_is_never_taken_back() -> None:
    outbox = Outbox(Packet(PacketType.OPEN))
    outbox.put_ping()
    outbox.take_some(2)
    outbox.put_message("a")
    outbox.take_some(1)

    outbox.confirm_poll()
    outbox.confirm_ping()

    assert outbox.confirmed_messages == 1


def test_above_the_high_water_the_session_is_not_writable() -> None:
    session = open_by_websocket(SMALL).session

    session.send_message("x" * 100, NOW)
    assert session.writable
    session.send_message("x", NOW)
    assert not session.writable


def test_a_websocket_that_lags_is_pinged_early() -> None:
    client = open_by_websocket(SMALL)
    session = client.session
    for _ in range(2):
        session.send_message(TEXT, NOW)

    assert session.next_deadline == NOW + OPTIONS.ping_timeout_s
    assert [session.take_frame() for _ in range(3)] == ["2", "4" + TEXT, "4" + TEXT]
    # The pong does not cover what followed the ping, so another ping is sent.
    session.receive_frame("3", NOW)
    assert session.take_frame() == "2"
    session.receive_frame("3", NOW)
    assert session.writable
    assert session.next_deadline == NOW + OPTIONS.ping_interval_s
    assert session.take_frame() is None


def test_one_early_ping_is_enough() -> None:
    session = open_by_websocket(SMALL).session
    for _ in range(6):
        session.send_message(TEXT, NOW)

    frames = [session.take_frame() for _ in range(8)]

    assert frames.count("2") == 1


def test_polls_tell_by_themselves_so_no_ping_comes_early() -> None:
    client = open_polling(SMALL)
    for _ in range(3):
        client.session.send_message(TEXT, NOW)

    assert client.session.next_deadline == NOW + OPTIONS.ping_interval_s
    client.poll()
    client.poll()
    assert client.control == []
    assert client.session.writable


def test_an_upgrade_while_the_client_lags_asks_what_it_has() -> None:
    client = open_polling(SMALL)
    session = client.session
    session.open_websocket(NOW)
    session.receive_probe_frame("2probe", NOW)
    session.take_probe_frame()
    for _ in range(3):
        session.send_message(TEXT, NOW)

    assert session.receive_probe_frame("5", NOW) == [Upgraded()]

    assert session.take_frame() == "2"
    assert session.next_deadline == NOW + OPTIONS.ping_timeout_s


def test_the_count_goes_on_through_an_upgrade() -> None:
    client = open_upgraded(SMALL)
    session = client.session
    session.send_message("a", NOW)
    client.settle()
    client.sleep(OPTIONS.ping_interval_s)
    client.settle()

    assert (session.unconfirmed_bytes, session.confirmed_messages) == (0, 1)


@pytest.mark.parametrize("open_client", [open_by_websocket, open_polling])
def test_a_client_that_takes_nothing_is_closed(
    open_client: Callable[[Options], ClientMachine],
) -> None:
    session = open_client(SMALL).session
    events = []
    sent = 0
    while session.is_open:
        events += session.send_message(TEXT, NOW)
        sent += 1

    assert events == [Closed(CloseReason.TRANSPORT_ERROR, slow=True)]
    assert session.is_closed
    assert session.unconfirmed_bytes <= SMALL.max_unconfirmed_bytes + len(TEXT)
    assert session.take_frame() is None
    assert session.next_deadline is None


def test_a_held_poll_is_let_go_though_the_client_is_slow() -> None:
    session = open_polling(SMALL).session
    session.start_poll()
    while session.is_open:
        session.send_message(TEXT, NOW)

    assert session.take_poll() == b"1"


def test_one_large_message_is_not_slowness() -> None:
    session = open_by_websocket(SMALL).session

    assert session.send_message("x" * 1000, NOW) == []
    assert session.is_open


def test_a_client_that_lags_and_is_mute_was_slow() -> None:
    client = open_by_websocket(SMALL)
    client.answers_pings = False
    for _ in range(3):
        client.session.send_message(TEXT, NOW)

    client.sleep(OPTIONS.ping_timeout_s)

    assert client.events == [Closed(CloseReason.PING_TIMEOUT, slow=True)]


def test_a_client_that_keeps_up_may_be_sent_any_amount() -> None:
    client = open_by_websocket(SMALL)

    for _ in range(200):
        client.session.send_message(TEXT, client.now)
        client.pump()

    assert client.session.is_open
    assert client.received == [TEXT] * 200
    assert client.session.unconfirmed_bytes <= SMALL.max_unconfirmed_bytes
