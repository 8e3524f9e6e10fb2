"""What can go wrong with a Socket.IO connection.

SocketError
 ├─ ProtocolError       the peer broke the protocol; the connection must be closed
 │   └─ PacketError     what it sent is not a packet
 └─ ReservedEventError  this side tried to send an event that is the protocol's own
"""

from __future__ import annotations


class SocketError(Exception):
    """Base of this package's errors."""


class ProtocolError(SocketError):
    """The peer did what the protocol forbids; the connection is of no further use."""


class PacketError(ProtocolError):
    """The peer sent something that cannot be decoded."""


class ReservedEventError(SocketError, ValueError):
    """An application tried to emit an event that the protocol keeps for itself."""
