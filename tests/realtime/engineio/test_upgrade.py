"""From polling to a WebSocket, and the ways in which that can fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from llmchat.realtime.engineio.events import (
    Closed,
    CloseReason,
    MessageReceived,
    Upgraded,
)
from llmchat.realtime.engineio.session import Session
from llmchat.realtime.engineio.upgrade import TRANSITIONS, Link, Signal
from tests.support.client_machine import OPTIONS, START, open_polling, open_upgraded

NOW = START


def opened() -> Session:
    return open_polling().session


def probed() -> Session:
    session = opened()
    assert session.open_websocket(NOW)
    assert session.receive_probe_frame("2probe", NOW) == []
    return session


def answer(session: Session) -> bytes | None:
    accepted, events = session.start_poll()
    assert (accepted, events) == (True, [])
    return session.take_poll()


def test_the_table_is_whole() -> None:
    after_probe = {Link.PROBING, Link.PROBED}

    for link in Link:
        assert ((link, Signal.PROBE_OPENED) in TRANSITIONS) is (link is Link.POLLING)
        for signal in set(Signal) - {Signal.PROBE_OPENED}:
            assert ((link, signal) in TRANSITIONS) is (link in after_probe)
    assert {TRANSITIONS[link, Signal.PROBE_LOST] for link in after_probe} == {
        Link.POLLING
    }
    assert {TRANSITIONS[link, Signal.UPGRADED] for link in after_probe} == {
        Link.WEBSOCKET
    }


def test_an_upgrade_by_the_book() -> None:
    session = opened()

    assert session.open_websocket(NOW)
    assert session.probe_is_open
    assert session.receive_probe_frame("2probe", NOW) == []
    assert session.take_probe_frame() == "3probe"
    assert session.take_probe_frame() is None
    assert answer(session) == b"6"
    assert session.receive_probe_frame("5", NOW) == [Upgraded()]
    assert session.transport == "websocket"
    assert not session.probe_is_open
    assert session.receive_frame("4hello", NOW) == [MessageReceived("hello")]
    session.send_message("hello", NOW)
    assert [session.take_frame(), session.take_frame()] == ["4hello", None]


def test_a_poll_is_still_held_before_the_probe() -> None:
    session = opened()
    session.open_websocket(NOW)

    assert answer(session) is None
    session.send_message("a", NOW)
    assert session.take_poll() == b"4a"


def test_a_held_poll_goes_when_the_probe_comes() -> None:
    session = opened()
    assert answer(session) is None
    session.open_websocket(NOW)

    session.receive_probe_frame("2probe", NOW)

    assert session.take_poll() == b"6"


def test_every_poll_during_a_probe_is_answered_at_once() -> None:
    session = probed()

    assert [answer(session) for _ in range(5)] == [b"6"] * 5


def test_packets_that_wait_go_before_the_noop() -> None:
    session = probed()
    session.send_message("a", NOW)

    assert [answer(session), answer(session)] == [b"4a", b"6"]


def test_posts_are_taken_during_a_probe() -> None:
    session = probed()

    assert session.start_post() == (True, [])
    assert session.receive_payload(b"4a", NOW) == [MessageReceived("a")]


def test_a_post_that_ends_after_the_upgrade_is_taken() -> None:
    session = probed()
    session.start_post()
    session.receive_probe_frame("5", NOW)

    assert session.receive_payload(b"4a", NOW) == [MessageReceived("a")]


def test_the_upgrade_flushes_what_waits_to_the_websocket() -> None:
    session = probed()
    session.take_probe_frame()
    for text in "abc":
        session.send_message(text, NOW)

    session.receive_probe_frame("5", NOW)

    assert [session.take_frame() for _ in range(4)] == ["4a", "4b", "4c", None]


def test_the_upgrade_lets_a_held_poll_go() -> None:
    session = opened()
    session.open_websocket(NOW)
    assert answer(session) is None

    # A client that does not wait for the probe's answer.
    assert session.receive_probe_frame("5", NOW) == [Upgraded()]

    assert session.take_poll() == b"6"
    session.send_message("a", NOW)
    assert session.take_poll() is None
    assert session.take_frame() == "4a"


def test_the_probe_is_answered_though_the_upgrade_followed_at_once() -> None:
    session = probed()
    session.send_message("a", NOW)
    session.receive_probe_frame("5", NOW)

    assert [session.take_frame() for _ in range(3)] == ["3probe", "4a", None]


def test_the_probe_answer_does_not_pile_up() -> None:
    session = probed()
    for _ in range(1000):
        session.receive_probe_frame("2probe", NOW)

    assert [session.take_probe_frame() for _ in range(2)] == ["3probe", None]


@pytest.mark.parametrize(
    "frame", ["2", "3probe", "4hello", "abc", "", "6", "5x", "2probe ", b"2probe", b"5"]
)
@pytest.mark.parametrize("start", [opened, probed])
def test_anything_else_ends_the_probe_and_only_that(
    start: Callable[[], Session], frame: str | bytes
) -> None:
    session = start()
    session.open_websocket(NOW)

    assert session.receive_probe_frame(frame, NOW) == []

    assert not session.probe_is_open
    assert session.is_open
    assert session.transport == "polling"
    session.send_message("a", NOW)
    assert answer(session) == b"4a"


def test_another_upgrade_may_follow_a_lost_one() -> None:
    session = probed()
    session.lose_probe()
    assert answer(session) is None

    assert session.open_websocket(NOW)
    session.receive_probe_frame("2probe", NOW)
    assert session.take_poll() == b"6"
    assert session.receive_probe_frame("5", NOW) == [Upgraded()]


def test_a_probe_has_only_so_much_time() -> None:
    client = open_polling()
    client.open_websocket()
    client.probe()

    client.sleep(OPTIONS.upgrade_timeout_s - 0.001)
    assert client.session.probe_is_open
    client.sleep(0.001)

    assert not client.session.probe_is_open
    assert client.session.is_open
    assert client.session.next_deadline == START + OPTIONS.ping_interval_s


def test_one_probe_at_a_time() -> None:
    session = probed()

    assert not session.open_websocket(NOW)
    assert session.receive_probe_frame("5", NOW) == [Upgraded()]


def test_no_probe_after_the_upgrade() -> None:
    client = open_upgraded()

    assert not client.session.open_websocket(NOW)
    assert client.session.receive_probe_frame("2probe", NOW) == []
    client.session.lose_probe()
    assert client.session.transport == "websocket"
    assert client.session.is_open


def test_no_probe_where_upgrades_are_not_offered() -> None:
    session = open_polling(replace(OPTIONS, allow_upgrades=False)).session

    assert not session.open_websocket(NOW)


def test_no_probe_of_a_session_that_has_ended() -> None:
    session = opened()
    session.lose_post()

    assert not session.open_websocket(NOW)


def test_the_end_of_the_session_is_the_end_of_the_probe() -> None:
    session = probed()

    session.start_post()
    session.receive_payload(b"1", NOW)

    assert not session.probe_is_open
    assert session.receive_probe_frame("5", NOW) == []
    assert session.transport == "polling"


def test_a_session_closed_during_the_probe_ends_with_the_upgrade() -> None:
    session = probed()
    session.take_probe_frame()
    session.send_message("last", NOW)
    events = session.close(CloseReason.FORCED_CLOSE, NOW)

    events += session.receive_probe_frame("5", NOW)

    assert events == [Closed(CloseReason.FORCED_CLOSE), Upgraded()]
    assert session.is_closed
    assert session.next_deadline is None
    assert [session.take_frame(), session.take_frame()] == ["4last", None]


def test_a_session_closed_during_the_probe_ends_by_polling_otherwise() -> None:
    session = probed()
    session.send_message("last", NOW)
    session.close(CloseReason.FORCED_CLOSE, NOW)

    assert [answer(session), answer(session)] == [b"4last", b"1"]
    assert session.is_closed
    assert not session.probe_is_open


def test_the_probe_of_a_closing_session_has_only_so_much_time() -> None:
    client = open_polling()
    client.session.close(CloseReason.FORCED_CLOSE, NOW)
    client.open_websocket()

    client.sleep(OPTIONS.upgrade_timeout_s)
    assert not client.session.probe_is_open
    client.sleep(OPTIONS.closing_timeout_s)
    assert client.session.is_closed


# Client and server together, with an upgrade begun and cut at every step.

STEPS = ("open_websocket", "probe", "take_probe_answer", "upgrade")


def exchange(start: int, spread: int, cut: int | None, turns: int = 24) -> None:
    """Both sides send all the time; at turn `start` the upgrade begins, with a step
    every `spread` turns, and is given up before step `cut`."""
    client = open_polling(replace(OPTIONS, max_packets_in_answer=2))
    sent: list[str | bytes] = []
    said: list[str | bytes] = []
    for turn in range(turns):
        due, rest = divmod(turn - start, spread)
        if rest == 0 and 0 <= due < len(STEPS):
            if due == cut:
                client.lose_probe()
                cut = -1
            elif cut != -1:
                getattr(client, STEPS[due])()
        for data in (f"s{turn}", bytes([turn]), f"t{turn}")[: turn % 4]:
            client.session.send_message(data, client.now)
            sent.append(data)
        if turn % 3:
            said.append(f"c{turn}")
            client.send(f"c{turn}")
        client.take_answer()
        client.post()
        client.pump()
        if turn % 2:
            client.poll()
    client.settle()

    assert client.received == sent
    heard = [e.data for e in client.events if isinstance(e, MessageReceived)]
    assert heard == said
    assert client.events.count(Upgraded()) == (cut is None)


@pytest.mark.parametrize("cut", [None, 1, 2, 3])
@pytest.mark.parametrize("spread", [1, 2, 3])
def test_nothing_is_lost_doubled_or_reordered(spread: int, cut: int | None) -> None:
    for start in range(12):
        exchange(start, spread, cut)
