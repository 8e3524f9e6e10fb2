"""The real-time server of this project: its options, rules and paths."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from channels.routing import URLRouter
from django.conf import settings
from django.http.request import split_domain_port, validate_host
from django.urls import re_path

from llmchat import conf, metrics
from llmchat.answers import runtime
from llmchat.api import origins
from llmchat.api.namespace import ChatNamespace
from llmchat.books.workers import worker_id
from llmchat.realtime import (
    HttpOptions,
    Limits,
    Options,
    Request,
    Server,
    SocketIO,
    SocketIOOptions,
    make_consumers,
    make_not_found,
)
from llmchat.workers import address_of

# How often to look for clients that no longer wait for anything.
_SEND_AWAY_S = 0.25
# How long a domain can be. Judgements of longer hosts are not remembered.
_LONGEST_HOST = 255
# Where the sockets are; the pattern also matches unusual spellings of the path.
PATH = "/socket.io/"
_PATTERN = r"^socket\.io/$"

Application = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RealTime:
    """The real-time side of the process, to route to and to stop."""

    server: Server
    socketio: SocketIO
    chat: ChatNamespace
    http: Application
    websocket: Application

    def join(self) -> None:
        """Share sessions with the other workers, if there can be any."""
        mailbox = runtime.get().mailbox
        if mailbox is not None:
            self.server.join(mailbox)
            self.socketio.join(mailbox)

    def shutdown(self) -> None:
        """End every session, and every socket that is kept for recovery."""
        self.server.shutdown()
        self.socketio.shutdown()

    async def send_away(self) -> None:
        """Send clients to other workers, as soon as they wait for nothing here.

        Runs until it is cancelled; returns immediately if there is no other worker.
        """
        presence = runtime.get().presence
        if presence is None or await presence.find_other() is None:
            return
        self.server.open_no_more()
        while True:
            await self.chat.send_away_idle()
            await asyncio.sleep(_SEND_AWAY_S)

    async def close(self, timeout_s: float) -> None:
        """End every session, and wait until clients have received the last packet.

        Another worker keeps the sockets of clients that have not come back to one yet.
        """
        peers = list(self.server)
        self.server.shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                for peer in peers:
                    await peer.wait_gone()
        await self._hand_over()
        self.socketio.shutdown()

    async def _hand_over(self) -> None:
        presence = runtime.get().presence
        if presence is not None and self.socketio.awaits_clients:
            other = await presence.find_other()
            if other is not None:
                await self.socketio.hand_over(other)


def build(http_fallback: Any) -> RealTime:
    """Build the server; `http_fallback` handles all other HTTP requests."""
    values = conf.get()
    secret = settings.SECRET_KEY.encode()
    socketio = SocketIO(
        [chat := ChatNamespace()],
        SocketIOOptions(
            limits=Limits(max_attachment_bytes=5 * values.max_payload_bytes),
            recovery_window_s=values.recovery_window_s,
            address=address_of(worker_id()),
            secret=secret,
        ),
    )
    options = Options(
        ping_interval_s=values.ping_interval_ms / 1000,
        ping_timeout_s=values.ping_timeout_ms / 1000,
        max_payload_bytes=values.max_payload_bytes,
    )
    server = Server(socketio, options, judge_request=judge_request, secret=secret)
    metrics.gauges.sockets = partial(transports_of, server)
    metrics.gauges.absent = lambda: socketio.absent
    metrics.gauges.relayed = lambda: server.relayed
    http = http_options()
    polling, websocket = make_consumers(server, http)
    return RealTime(
        server,
        socketio,
        chat,
        route(polling.as_asgi(), http_fallback),
        route(websocket.as_asgi(), make_not_found(http).as_asgi()),
    )


def route(sockets: Any, others: Any) -> Application:
    """Return the application that passes on to one of these, depending on the path.

    Requests for the usual spelling skip the router, which copies the scope of each and
    matches patterns.
    """
    router = URLRouter([re_path(_PATTERN, sockets), re_path(r"", others)])

    def application(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        chosen = sockets if scope["path"] == PATH else router
        return chosen(scope, receive, send)

    return application


def transports_of(server: Server) -> dict[str, int]:
    """Return how many open sessions there are, by transport."""
    counts = dict.fromkeys(("polling", "websocket"), 0)
    for session in (peer.session for peer in server):
        counts[session.transport] += session.is_open
    return counts


def http_options() -> HttpOptions:
    """Return CORS for the allowed origins, and the headers that Django adds."""
    headers = [
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", settings.X_FRAME_OPTIONS.encode()),
        (b"referrer-policy", settings.SECURE_REFERRER_POLICY.encode()),
        (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    ]
    if settings.SECURE_HSTS_SECONDS:
        value = f"max-age={settings.SECURE_HSTS_SECONDS}".encode()
        headers.append((b"strict-transport-security", value))
    return HttpOptions(
        cors_origins=origins.allowed_origins(),
        cors_credentials=True,
        extra_headers=tuple(headers),
    )


def judge_request(request: Request) -> str | None:
    """Return why a request is rejected: a wrong `Host` or a foreign origin.

    A client without an `Origin` is not a browser, and is accepted.
    """
    host = request.handshake.headers.get("host", "")
    if not is_allowed_host(host):
        return "Host not allowed"
    origin = request.origin
    if origin is None or origins.is_allowed(origin):
        return None
    return None if origins.is_own(origin, host) else "Origin not allowed"


def is_allowed_host(host: str) -> bool:
    """Return whether a `Host` header names this site."""
    if len(host) > _LONGEST_HOST:
        return _judge_host(host, allowed_hosts())
    return _remembered_judgement(host, allowed_hosts())


def _judge_host(host: str, allowed: tuple[str, ...]) -> bool:
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, allowed)


# Almost all requests name the same host. What the settings allow is part of the key.
_remembered_judgement = lru_cache(maxsize=256)(_judge_host)


def allowed_hosts() -> tuple[str, ...]:
    """Return the `Host` names that Django accepts."""
    if settings.DEBUG and not settings.ALLOWED_HOSTS:
        return ".localhost", "127.0.0.1", "[::1]"
    return tuple(settings.ALLOWED_HOSTS)
