"""What a session reports to its owner."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CloseReason(StrEnum):
    """Why a session ended, in the words that applications know from Socket.IO."""

    TRANSPORT_CLOSE = "transport close"
    TRANSPORT_ERROR = "transport error"
    PARSE_ERROR = "parse error"
    PING_TIMEOUT = "ping timeout"
    FORCED_CLOSE = "forced close"
    SERVER_SHUTTING_DOWN = "server shutting down"


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """The peer sent a message: text, or bytes for a binary one."""

    data: str | bytes


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The probing WebSocket is the session's transport from now on."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The session has ended; reported once.

    `slow` says that the peer did not take what was sent to it.
    """

    reason: CloseReason
    slow: bool = False


Event = MessageReceived | Upgraded | Closed
