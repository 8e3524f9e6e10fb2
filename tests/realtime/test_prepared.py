"""An event whose packet is prepared once is the same event on the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmchat.realtime import ReservedEventError
from llmchat.realtime.outlet import Outlet
from llmchat.realtime.replay import Messages, Replay

ARGUMENTS = {"text": 'a "quote", größer 漢字 🙂\n'}


class Line:
    """A connection that keeps what it is given to send."""

    writable = True
    transport = "websocket"

    def __init__(self) -> None:
        self.sent: list[tuple[Messages, int]] = []

    def send(
        self, messages: Messages, replay: Replay | None = None, number: int = 0
    ) -> None:
        self.sent.append((messages, number))

    async def drain(self) -> None:
        pass

    def expel(self, namespace: str, *, close: bool) -> None:
        pass

    def close(self) -> None:
        pass


def prepared(outlet: Outlet, *args: Any) -> None:
    """Send an event as `Socket.emit_prepared` does."""
    arguments = json.dumps(args, ensure_ascii=False, separators=(",", ":"))[1:-1]
    outlet.emit_prepared(outlet.prepare("said"), [arguments])


@pytest.mark.parametrize("namespace", ["/", "/chat"])
@pytest.mark.parametrize("recoverable", [True, False])
@pytest.mark.parametrize("args", [(ARGUMENTS,), (ARGUMENTS, 1, None)])
def test_it_is_sent_and_kept_like_any_other(namespace, recoverable, args):
    line, same_line = Line(), Line()
    outlet = Outlet(namespace, line, recoverable=recoverable)
    same = Outlet(namespace, same_line, recoverable=recoverable)
    for _ in range(2):
        prepared(outlet, *args)
        same.emit("said", args)
        outlet.admit()
        same.admit()
    assert line.sent == same_line.sent
    assert len(line.sent) >= 2
    if recoverable:
        assert outlet.replay.events == same.replay.events
        assert len(outlet.replay.events) == 2


def test_more_than_is_kept_for_a_recovery_is_shed():
    outlet = Outlet("/", Line(), recoverable=True)
    outlet.admit()
    prepared(outlet, "x" * 1024 * 1024)
    assert outlet.replay is not None
    assert not outlet.replay.covers(0)
    assert outlet.replay.events == []


def test_the_protocol_s_own_events_are_not_prepared():
    with pytest.raises(ReservedEventError):
        Outlet("/", Line(), recoverable=True).prepare("connect")
