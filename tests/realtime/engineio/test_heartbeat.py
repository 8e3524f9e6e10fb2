"""The server pings; a client that does not answer is let go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from llmchat.realtime.engineio.events import Closed, CloseReason
from llmchat.realtime.engineio.heartbeat import Heartbeat
from llmchat.realtime.engineio.session import Session
from tests.support.client_machine import (
    OPTIONS,
    START,
    ClientMachine,
    open_by_websocket,
    open_polling,
    open_upgraded,
)

Opener = Callable[[], ClientMachine]

INTERVAL, TIMEOUT = OPTIONS.ping_interval_s, OPTIONS.ping_timeout_s
TIMED_OUT = Closed(CloseReason.PING_TIMEOUT)

openers = pytest.mark.parametrize(
    "open_client", [open_polling, open_by_websocket, open_upgraded]
)


@openers
def test_the_server_pings_again_an_interval_after_each_pong(
    open_client: Opener,
) -> None:
    client = open_client()

    for turn in range(3):
        client.sleep(INTERVAL - 0.001)
        client.settle()
        assert client.control.count("2") == turn
        client.sleep(0.001)
        client.settle()
        assert client.control.count("2") == turn + 1

    assert client.session.is_open


@openers
def test_a_mute_client_is_closed(open_client: Opener) -> None:
    client = open_client()
    client.answers_pings = False

    client.sleep(INTERVAL)
    client.settle()
    assert client.session.next_deadline == START + INTERVAL + TIMEOUT
    client.sleep(TIMEOUT - 0.001)
    assert client.session.is_open
    client.sleep(0.001)

    assert client.events == [TIMED_OUT]
    assert client.session.is_closed
    assert client.session.next_deadline is None


def test_other_packets_do_not_count_as_a_pong() -> None:
    client = open_by_websocket()
    client.answers_pings = False
    client.sleep(INTERVAL)

    for _ in range(int(TIMEOUT)):
        client.sleep(1)
        client.send("busy")
        client.pump()

    assert client.events[-1] == TIMED_OUT


def test_deadlines_are_absolute_however_late_the_timer_is() -> None:
    session = Session("sid", "polling", START, OPTIONS)

    # No tick arrived when the ping was due; its pong is owed from then on.
    session.tick(START + INTERVAL + 5)
    assert session.next_deadline == START + INTERVAL + TIMEOUT


def test_a_session_found_past_both_deadlines_is_closed_at_once() -> None:
    session = Session("sid", "polling", START, OPTIONS)

    assert session.tick(START + INTERVAL + TIMEOUT) == [TIMED_OUT]
    assert session.is_closed


def test_a_tick_before_its_time_does_nothing() -> None:
    session = Session("sid", "polling", START, OPTIONS)
    deadline = session.next_deadline
    assert deadline == START + INTERVAL

    assert session.tick(deadline - 0.001) == []
    assert session.next_deadline == deadline


def test_a_timeout_lets_a_held_poll_go_with_a_close() -> None:
    client = open_polling()
    client.answers_pings = False
    client.sleep(INTERVAL)
    client.poll()
    client.poll()
    client.sleep(TIMEOUT)
    client.take_answer()

    assert client.control == ["2", "1"]


def test_an_unasked_pong_restarts_the_interval() -> None:
    client = open_by_websocket()
    client.sleep(10)

    client.events += client.session.receive_frame("3", client.now)

    assert client.session.next_deadline == START + 10 + INTERVAL
    assert client.events == []


def test_a_flood_of_pongs_changes_nothing() -> None:
    client = open_by_websocket()

    for _ in range(10_000):
        assert client.session.receive_frame("3", client.now) == []

    assert client.session.take_frame() is None
    assert client.session.next_deadline == client.now + INTERVAL


def test_pings_that_nobody_fetches_do_not_pile_up() -> None:
    client = open_polling()

    for _ in range(5):
        client.sleep(INTERVAL)
        client.session.start_post()
        client.session.receive_payload(b"3", client.now)
    client.answers_pings = False
    client.poll()

    assert client.control == ["2"]


def test_a_ping_overtakes_messages_that_wait() -> None:
    client = open_polling(replace(OPTIONS, max_packets_in_answer=4))
    for number in range(10):
        client.session.send_message(str(number), client.now)
    client.sleep(INTERVAL)
    client.poll()

    assert client.control == ["2"]
    assert client.received == ["0", "1", "2"]


def test_the_open_packet_is_first_even_when_a_ping_is_due() -> None:
    session = Session("sid", "websocket", START, OPTIONS)
    session.tick(START + INTERVAL)

    first, second = session.take_frame(), session.take_frame()

    assert isinstance(first, str)
    assert first.startswith("0{")
    assert second == "2"


def test_an_upgrade_does_not_move_the_next_ping() -> None:
    client = open_polling()
    client.sleep(10)
    client.open_websocket()
    client.settle()

    assert client.session.next_deadline == START + INTERVAL


def test_an_upgrade_gives_a_pong_that_is_owed_its_time_again() -> None:
    client = open_polling()
    client.answers_pings = False
    client.sleep(INTERVAL)
    client.poll()
    client.sleep(TIMEOUT - 1)
    client.open_websocket()
    client.settle()

    assert client.session.next_deadline == client.now + TIMEOUT
    client.sleep(TIMEOUT)
    assert client.events[-1] == TIMED_OUT


def test_a_ping_that_no_poll_has_fetched_goes_by_the_websocket() -> None:
    client = open_polling()
    client.open_websocket()
    client.probe()
    client.take_probe_answer()
    client.sleep(INTERVAL - client.now + START)
    client.session.open_websocket(client.now)
    client.session.receive_probe_frame("5", client.now)

    assert client.session.take_frame() == "2"


def test_a_heartbeat_that_stopped_expects_nothing() -> None:
    heartbeat = Heartbeat(START, 25, 20)
    heartbeat.extend(START)
    assert heartbeat.deadline == START + 25
    heartbeat.stop()
    assert heartbeat.deadline is None
