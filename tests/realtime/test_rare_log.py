"""What any client can cause does not fill the log."""

from __future__ import annotations

import logging

import pytest

from llmchat.realtime.rare_log import INTERVAL_S, RareLog
from tests.realtime.test_peer import Lobby
from tests.support.peers import joined, serving, turns


def test_a_kind_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 1000.0
    log = RareLog(logging.getLogger("x"), lambda: now)

    for number in range(5):
        log.warn("a", f"a {number}")
    log.warn("b", "b")
    now += INTERVAL_S
    log.warn("a", "a 5")

    assert caplog.messages == ["a 0", "b", "a 5 (4 more since the last such line)"]


async def test_packets_that_are_none_do_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = serving(Lobby())

    for _ in range(20):
        peer, wire, _ = await joined(server)
        peer.receive_frame(wire, "4nonsense")
        await turns()
        assert peer.session.is_closed

    assert caplog.text.count("Closing a connection") <= 1
