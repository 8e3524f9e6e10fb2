"""A connection that continues on another worker."""

from __future__ import annotations

import pytest

from llmchat.realtime.socketio.connection import Connection, Limits
from llmchat.realtime.socketio.errors import ProtocolError
from llmchat.realtime.socketio.events import EventReceived

NOW = 1000.0
LIMITS = Limits()


def moved(connection: Connection) -> Connection:
    other = Connection(NOW, LIMITS)
    other.take_over(connection.hand_over())
    return other


def test_joined_namespaces_go_along() -> None:
    connection = Connection(NOW, LIMITS)
    for name in ("/", "/a"):
        connection.receive_message("0" if name == "/" else f"0{name},", NOW)
        connection.accept(name, "id")
    connection.expel("/a")

    other = moved(connection)

    assert other.hand_over() == {"/": True, "/a": False}
    assert other.next_deadline is None
    assert isinstance(other.receive_message('2["x"]', NOW), EventReceived)
    assert other.receive_message('2/a,["sent before it knew"]', NOW) is None


def test_one_that_has_joined_nothing_still_has_to() -> None:
    other = moved(Connection(NOW, LIMITS))
    assert other.next_deadline == NOW + LIMITS.connect_timeout_s


def test_it_is_not_at_rest_in_the_middle_of_something() -> None:
    connection = Connection(NOW, LIMITS)
    assert connection.is_at_rest
    connection.receive_message("0", NOW)
    assert not connection.is_at_rest
    connection.accept("/", "id")
    assert connection.is_at_rest
    connection.receive_message('51-["x",{"_placeholder":true,"num":0}]', NOW)
    assert not connection.is_at_rest
    connection.receive_message(b"", NOW)
    assert connection.is_at_rest
    with pytest.raises(ProtocolError):
        connection.receive_message("2nonsense", NOW)
    assert not connection.is_at_rest
