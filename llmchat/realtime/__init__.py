"""A Socket.IO server on ASGI: what projects import from it.

Applications write a `Namespace`, with `event`, `Socket` and `Ack`. Projects serve it
with `SocketIO`, `Server` and `make_consumers`. See docs/socketio.md.

A message on its way in passes the server below, the consumers, the session with its
transports, the dispatcher, and the sockets, in this order.
"""

from .asgi_server import FlowGate, abort
from .consumers import make_consumers, make_not_found
from .cors import HttpOptions, origin_is_allowed
from .dispatch import SocketIO, SocketIOOptions
from .engineio.events import CloseReason
from .engineio.handshake import Options
from .namespaces import ComeBackLater, ConnectionRefused, Namespace, event
from .outlet import DisconnectedError
from .peer import Application, Peer
from .receiver import Receiver
from .request import Handshake, Request
from .server import Server
from .socketio.connection import Limits
from .socketio.errors import ReservedEventError
from .sockets import Ack, Socket

__all__ = [
    "Ack",
    "Application",
    "CloseReason",
    "ComeBackLater",
    "ConnectionRefused",
    "DisconnectedError",
    "FlowGate",
    "Handshake",
    "HttpOptions",
    "Limits",
    "Namespace",
    "Options",
    "Peer",
    "Receiver",
    "Request",
    "ReservedEventError",
    "Server",
    "Socket",
    "SocketIO",
    "SocketIOOptions",
    "abort",
    "event",
    "make_consumers",
    "make_not_found",
    "origin_is_allowed",
]
