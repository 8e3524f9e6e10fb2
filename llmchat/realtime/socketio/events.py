"""What a connection reports to its owner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ConnectRequested:
    """The peer wants to join a namespace; `auth` is what it sent with the request.

    Answer it with `Connection.accept` or `Connection.refuse`.
    """

    namespace: str
    auth: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EventReceived:
    """The peer emitted an event; with an `ack_id` it waits for an answer.

    `size` is what it counts for in a queue: about how much memory it takes.
    """

    namespace: str
    name: str | int | float
    args: tuple[Any, ...]
    ack_id: int | None
    size: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class AckReceived:
    """The peer answered an event that asked for it."""

    namespace: str
    ack_id: int
    args: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class DisconnectReceived:
    """The peer left a namespace."""

    namespace: str


Event = ConnectRequested | EventReceived | AckReceived | DisconnectReceived
