"""What each request asks for: the checks of every request, in the required order.

Spec: Engine.IO protocol 4, "Handshake"; the order and the codes are those that the
stock clients know from the reference server.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

from .errors import Refusal, RequestError
from .packet import Packet, PacketType

PROTOCOL_VERSION = "4"
SID_RANDOM_BYTES = 18

_ILLEGAL_ORIGIN = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


@dataclass(frozen=True, slots=True)
class Options:
    """What a server offers. Times in seconds, sizes in bytes.

    `max_unconfirmed_bytes` bounds what is queued for, or on its way to, one client;
    above `high_water_bytes`, code that emits should wait.
    """

    ping_interval_s: float = 25.0
    ping_timeout_s: float = 20.0
    upgrade_timeout_s: float = 10.0
    max_payload_bytes: int = 1_000_000
    transports: tuple[str, ...] = ("polling", "websocket")
    allow_upgrades: bool = True
    max_packets_in_payload: int = 10_000
    max_packets_in_answer: int = 16
    high_water_bytes: int = 256 * 1024
    max_unconfirmed_bytes: int = 1024 * 1024
    closing_timeout_s: float = 30.0


class Action(Enum):
    """What a request that passed the checks asks for."""

    OPEN = auto()
    POLL = auto()
    POST = auto()
    WEBSOCKET = auto()  # a WebSocket for an existing session


def check_request(
    method: str,
    query: Mapping[str, str],
    *,
    websocket: bool,
    origin: str | None,
    session_transport: str | None,
    options: Options,
) -> Action:
    """Return what a request asks for.

    `websocket` tells a WebSocket handshake from plain HTTP; `session_transport` is
    the current transport of the session that `sid` names, None if there is none. The
    version is not judged here: `check_version` runs after the application has judged
    the request.

    Raises:
        RequestError: the request is refused.
    """
    transport = query.get("transport")
    if transport not in options.transports:
        raise RequestError(Refusal.UNKNOWN_TRANSPORT)
    if origin is not None and _ILLEGAL_ORIGIN.search(origin):
        raise RequestError(Refusal.BAD_REQUEST)
    if query.get("sid"):
        return _check_known(method, transport, websocket, session_transport)
    if method != "GET":
        raise RequestError(Refusal.BAD_HANDSHAKE_METHOD)
    if (transport == "websocket") is not websocket:
        raise RequestError(Refusal.BAD_REQUEST)
    return Action.OPEN


def _check_known(
    method: str, transport: str, websocket: bool, session_transport: str | None
) -> Action:
    if session_transport is None:
        raise RequestError(Refusal.UNKNOWN_SID)
    if websocket and transport == "websocket":
        return Action.WEBSOCKET
    if websocket or transport != session_transport or transport != "polling":
        # Also a handshake that a proxy turned into a GET: as a poll, it would take
        # packets that its sender never reads.
        raise RequestError(Refusal.BAD_REQUEST)
    if method == "GET":
        return Action.POLL
    if method == "POST":
        return Action.POST
    raise RequestError(Refusal.BAD_REQUEST)


def check_version(query: Mapping[str, str]) -> None:
    """Refuse any version of the protocol except the fourth.

    Raises:
        RequestError: `EIO` is missing or names another version.
    """
    if query.get("EIO") != PROTOCOL_VERSION:
        raise RequestError(Refusal.UNSUPPORTED_PROTOCOL_VERSION)


def make_sid(prefix: str = "") -> str:
    """Return a session id that cannot be guessed, of URL-safe characters.

    `prefix` says which worker has the session.
    """
    return prefix + secrets.token_urlsafe(SID_RANDOM_BYTES)


def open_packet(sid: str, transport: str, options: Options) -> Packet:
    """Return the packet that answers a handshake."""
    # What is offered is encoded once: an encoder costs more than all the rest.
    return Packet(
        PacketType.OPEN, f'{{"sid":{json.dumps(sid)},{_offer(transport, options)}'
    )


@lru_cache(maxsize=16)
def _offer(transport: str, options: Options) -> str:
    """Return the open packet's JSON behind the session's id."""
    upgrades = (
        ["websocket"]
        if transport == "polling"
        and options.allow_upgrades
        and "websocket" in options.transports
        else []
    )
    data = {
        "upgrades": upgrades,
        "pingInterval": round(options.ping_interval_s * 1000),
        "pingTimeout": round(options.ping_timeout_s * 1000),
        "maxPayload": options.max_payload_bytes,
    }
    return json.dumps(data, separators=(",", ":")).removeprefix("{")
