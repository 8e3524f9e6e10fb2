"""The shell: Channels consumers that move bytes between ASGI and the sessions.

They know HTTP and WebSockets, and nothing of what is in a packet. Nothing here waits
for anything but its own connection, since Channels hands a consumer its messages one
after another: a handler that waited would not see the disconnect behind it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from channels.utils import await_many_dispatch

from .asgi_server import abort, protocol_of, transport_of
from .clients import Client, Handshake
from .cors import (
    Headers,
    HttpOptions,
    compress,
    cookie_header,
    cors_headers,
    preflight_headers,
)
from .engineio.errors import RequestError
from .engineio.handshake import Action
from .engineio.session import CLOSE_NORMAL
from .server import Request, Server

logger = logging.getLogger(__name__)

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

TEXT = b"text/plain; charset=UTF-8"
# Some browsers offer plain text that comes from a POST as a download.
HTML = b"text/html"
JSON = b"application/json"

# How long a closed WebSocket may take to get rid of what the server has buffered.
CLOSE_TIMEOUT_S = 5.0


def read_request(scope: Message) -> Request:
    """The request of an ASGI scope."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    query = scope.get("query_string", b"").decode("latin-1")
    client = scope.get("client")
    return Request(
        method=scope.get("method", "GET"),
        websocket=scope["type"] == "websocket",
        handshake=Handshake(
            query=dict(parse_qsl(query, keep_blank_values=True)),
            headers=headers,
            address=client[0] if client else None,
            secure=scope.get("scheme") in ("https", "wss"),
            url=scope["path"] + (f"?{query}" if query else ""),
        ),
    )


class EngineConsumer(AsyncConsumer):
    """What both consumers share: the server they belong to, and the request."""

    server: ClassVar[Server]
    http: ClassVar[HttpOptions] = HttpOptions()

    request: Request

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Dispatches what comes, without the task that Channels starts for that."""
        self.scope = scope
        self.request = read_request(scope)
        self.base_send = send
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            pass

    async def dispatch(self, message: Message) -> None:
        """Hands a message to its handler.

        Channels would first look after old database connections, in a thread, which
        lets requests overtake one another. No handler here uses the database.
        """
        handler = getattr(self, message["type"].replace(".", "_"))
        await handler(message)

    def error(self, error: RequestError) -> tuple[int, bytes]:
        """Status and body of a refused request."""
        body = {"code": error.code, "message": error.message}
        return error.status, json.dumps(body, separators=(",", ":")).encode()

    async def websocket_disconnect(self, message: Message) -> None:
        """Called when the connection is gone, from either side."""
        raise StopConsumer

    async def refuse(self, error: RequestError) -> None:
        """Refuses the handshake, with status and body where the server can.

        The consumer ends with the disconnect that follows: whoever returns earlier
        is told off by uvicorn for an open handshake.
        """
        if "websocket.http.response" not in (self.scope.get("extensions") or {}):
            await self.base_send({"type": "websocket.close"})
            return
        status, body = self.error(error)
        origin = self.request.handshake.headers.get("origin")
        headers = [
            (b"content-type", JSON),
            *self.http.extra_headers,
            *cors_headers(origin, self.http),
        ]
        await self.base_send(
            {
                "type": "websocket.http.response.start",
                "status": status,
                "headers": headers,
            }
        )
        await self.base_send({"type": "websocket.http.response.body", "body": body})


class PollingConsumer(EngineConsumer):
    """One HTTP request of long-polling: a handshake, a poll, or a post."""

    client: Client | None = None
    action: Action | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Dispatches what comes from the client and, beside it, a poll's answer."""
        self.scope = scope
        self.request = read_request(scope)
        self.base_send = send
        self.body = bytearray()
        self.answers: asyncio.Queue[Message] = asyncio.Queue()
        try:
            # Before anything else is awaited, so that no request overtakes another.
            await self.start()
            await await_many_dispatch([receive, self.answers.get], self.dispatch)
        except StopConsumer:
            pass
        finally:
            self.leave()

    # From the client.

    async def http_request(self, message: Message) -> None:
        """Called with each piece of the body."""
        if self.action is Action.POST:
            await self.receive_body(message)

    async def http_disconnect(self, message: Message) -> None:
        """Called when the client is gone, or has its answer."""
        raise StopConsumer

    async def start(self) -> None:
        """Judges the request and begins what it asks for."""
        if self.request.method == "OPTIONS" and self.http.cors_origins is not None:
            headers = preflight_headers(self.request.handshake.headers)
            await self.respond(204, b"", None, headers)
        try:
            self.action, self.client = self.server.find(self.request)
            if self.action is Action.OPEN:
                self.client = await self.server.open(self.request)
        except RequestError as error:
            await self.respond(*self.error(error), JSON)
        assert self.client is not None
        if self.action is Action.POST:
            await self.start_post(self.client)
        elif not self.client.start_poll(self):
            self.client = None
            await self.respond(400, b"", None)

    async def start_post(self, client: Client) -> None:
        """Begins to receive packets."""
        headers = self.request.handshake.headers
        content_type = headers.get("content-type", "").partition(";")[0]
        if content_type.strip().lower() == "application/octet-stream":
            client.lose_post()
            self.client = None
            await self.respond(400, b"", None)
        if not client.start_post(self):
            self.client = None
            await self.respond(400, b"", None)
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and self.is_too_long(int(length[:18])):
            await self.refuse_body(client)

    def is_too_long(self, length: int) -> bool:
        """Whether a body of so many bytes is more than was announced as allowed."""
        return length > self.server.options.max_payload_bytes

    async def refuse_body(self, client: Client) -> None:
        """Stops reading a body that is too long."""
        client.lose_post()
        self.client = None
        self.body.clear()
        # A server closes here, or reads on and keeps nothing: a reset would take the
        # answer away from a client that is still writing.
        await self.respond(413, b"", None)

    async def receive_body(self, message: Message) -> None:
        """Collects the body; takes it in when it is whole."""
        client = self.client
        assert client is not None
        piece = message.get("body", b"")
        if self.is_too_long(len(self.body) + len(piece)):
            await self.refuse_body(client)
        self.body += piece
        if not message.get("more_body", False):
            self.client = None
            client.receive_payload(bytes(self.body))
            await self.respond(200, b"ok", HTML)

    # From the session.

    def answer(self, body: bytes) -> None:
        """Called by the client when there is something to answer a poll with."""
        self.answers.put_nowait({"type": "poll.answer", "body": body})

    def refuse_post(self) -> None:
        """Called by the client when the session ends before a body has."""
        self.answers.put_nowait({"type": "post.refusal"})

    async def post_refusal(self, message: Message) -> None:
        """Called when there is nobody any more to take in the body."""
        self.client = None
        self.body.clear()
        await self.respond(400, b"", None)

    async def poll_answer(self, message: Message) -> None:
        """Called with the answer to a poll or a handshake."""
        client, self.client = self.client, None
        headers: Headers = []
        if self.action is Action.OPEN and self.http.cookie and client is not None:
            headers.append(cookie_header(self.http.cookie, client.session.sid))
        await self.respond(200, message["body"], TEXT, headers)

    def leave(self) -> None:
        """Called at the end, whatever ended it: a request that was not answered."""
        client, self.client = self.client, None
        if client is None:
            return
        if self.action is Action.POST:
            client.lose_post()
        else:
            client.lose_poll(self)

    async def respond(
        self,
        status: int,
        body: bytes,
        content_type: bytes | None,
        headers: Headers | None = None,
    ) -> None:
        """Answers the request, and ends the consumer."""
        request_headers = self.request.handshake.headers
        encoding: Headers = []
        if self.action in (Action.POLL, Action.OPEN) and status == 200:
            accepted = request_headers.get("accept-encoding", "")
            body, encoding = compress(body, accepted, self.http)
        all_headers = [
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            *self.http.extra_headers,
            *cors_headers(request_headers.get("origin"), self.http),
            *encoding,
            *(headers or []),
        ]
        if content_type is not None:
            all_headers.insert(0, (b"content-type", content_type))
        await self.base_send(
            {"type": "http.response.start", "status": status, "headers": all_headers}
        )
        await self.base_send({"type": "http.response.body", "body": body})
        raise StopConsumer


class WebSocketConsumer(EngineConsumer):
    """One WebSocket: a session of its own, or one that wants to join a session."""

    client: Client | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.leave()

    # From the client.

    async def websocket_connect(self, message: Message) -> None:
        """Called with the handshake."""
        try:
            action, client = self.server.find(self.request)
            if action is Action.OPEN:
                client = await self.server.open(self.request)
        except RequestError as error:
            await self.refuse(error)
            return
        assert client is not None
        self.client = client
        await self.accept()
        if self.is_closing():
            # Reset in the middle of the handshake; the disconnect is on its way.
            return
        if action is Action.OPEN:
            client.adopt(self)
        elif not client.open_websocket(self):
            # In Node a refused handshake would be an unhandled error.
            self.client = None
            await self.close(CLOSE_NORMAL)

    async def websocket_receive(self, message: Message) -> None:
        """Called with each frame."""
        if self.client is None:
            return
        text = message.get("text")
        self.client.receive_frame(self, message["bytes"] if text is None else text)

    # From the session.

    async def send_frame(self, frame: str | bytes) -> None:
        """Sends one frame; may wait for a slow peer."""
        if isinstance(frame, str):
            await self.base_send({"type": "websocket.send", "text": frame})
        else:
            await self.base_send({"type": "websocket.send", "bytes": frame})

    async def close(self, code: int) -> None:
        """Closes in order, or not, if the peer takes nothing any more."""
        self.client = None
        protocol = protocol_of(self.base_send)
        send_close = getattr(protocol, "sendCloseFrame", None)
        if send_close is not None and code != CLOSE_NORMAL:
            # Daphne lets through the codes of applications alone.
            send_close(code=code)
            return
        await self.base_send({"type": "websocket.close", "code": code})
        transport = getattr(protocol, "transport", None)
        buffered = getattr(transport, "get_write_buffer_size", None)
        if transport is not None and buffered is not None and buffered():
            # asyncio would wait for as long as the system does.
            loop = asyncio.get_running_loop()
            loop.call_later(CLOSE_TIMEOUT_S, transport.abort)

    def abort(self) -> None:
        """Drops the connection, with what the server has buffered for it."""
        self.client = None
        abort(self.base_send)

    def leave(self) -> None:
        """Called at the end, whatever ended it."""
        client, self.client = self.client, None
        if client is not None:
            client.lose_websocket(self)

    def is_closing(self) -> bool:
        """Whether the connection is lost, though nobody has been told yet."""
        transport = transport_of(self.base_send)
        is_closing = getattr(transport, "is_closing", None)
        return is_closing is not None and bool(is_closing())

    async def accept(self) -> None:
        """Completes the handshake."""
        origin = self.request.handshake.headers.get("origin")
        headers = [*self.http.extra_headers, *cors_headers(origin, self.http)]
        await self.base_send({"type": "websocket.accept", "headers": headers})


def make_consumers(
    server: Server, http: HttpOptions
) -> tuple[type[PollingConsumer], type[WebSocketConsumer]]:
    """The two consumers of one server."""
    members = {"server": server, "http": http}
    return (
        type("PollingConsumer", (PollingConsumer,), members),
        type("WebSocketConsumer", (WebSocketConsumer,), members),
    )
