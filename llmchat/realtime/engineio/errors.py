"""What can go wrong with an Engine.IO connection.

EngineError
 ├─ PacketError     bytes that are no packet; the session closes with "parse error"
 └─ RequestError    a request that is refused; carries the wire's code and status
"""

from __future__ import annotations

from enum import Enum


class EngineError(Exception):
    """Base of this package's errors."""


class PacketError(EngineError):
    """The peer sent something that is not an Engine.IO packet."""


class Refusal(Enum):
    """Why a request is refused: the code and the message on the wire, the status.

    Spec: Engine.IO protocol, "Handshake", and the reference server's error table. The
    table has no code for a server that is about to stop, which therefore uses that of
    another refusal to open a session.
    """

    UNKNOWN_TRANSPORT = (0, "Transport unknown", 400)
    UNKNOWN_SID = (1, "Session ID unknown", 400)
    BAD_HANDSHAKE_METHOD = (2, "Bad handshake method", 400)
    BAD_REQUEST = (3, "Bad request", 400)
    FORBIDDEN = (4, "Forbidden", 403)
    UNSUPPORTED_PROTOCOL_VERSION = (5, "Unsupported protocol version", 400)
    SHUTTING_DOWN = (4, "Server shutting down", 503)


class RequestError(EngineError):
    """A request is refused before it reaches a session."""

    def __init__(self, refusal: Refusal, message: str | None = None) -> None:
        self.refusal = refusal
        self.code, default_message, self.status = refusal.value
        self.message = message or default_message
        super().__init__(self.message)
