"""One HTTP request of long-polling: a handshake, a poll, or a post.

It is judged first: the outcome is a `Response`, or the `Endpoint` of the session that
will decide. In the second case two things can happen in any order: messages arrive from
the client, including its disconnect, and the session calls `answer`, `accept` or
`refuse`. The first outcome counts, and is sent from one place.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from .asgi_server import is_closing
from .cors import cookie_header, preflight_headers
from .engine_consumer import EngineConsumer, Message, Receive
from .engineio.errors import RequestError
from .engineio.handshake import Action
from .responses import HTML, TEXT, Response, error_response, http_messages
from .server import Server
from .transports import Endpoint


class PollingConsumer(EngineConsumer):
    """One HTTP request: the `Poll` or the `Post` of its session."""

    server: ClassVar[Server]

    endpoint: Endpoint | None = None
    action: Action | None = None
    outcome: Response | None = None
    is_disconnected = False
    # The task that is waiting for the client's next message, if any.
    waiting: asyncio.Task[Any] | None = None

    async def serve(self, receive: Receive) -> None:
        """Answer the request."""
        self.body = bytearray()
        try:
            # Before anything else is awaited, so that no request overtakes another.
            verdict = await self.judge()
            if isinstance(verdict, Response):
                response: Response | None = verdict
            else:
                response = await self.exchange(verdict, receive)
            if response is not None:
                await self.respond(response)
        finally:
            self.leave()

    async def judge(self) -> Response | Endpoint:
        """Return the answer, or the session that will answer."""
        if self.request.method == "OPTIONS" and self.http.cors_origins is not None:
            headers = preflight_headers(self.request.handshake.headers)
            return Response(204, headers=tuple(headers))
        try:
            self.action, endpoint = self.server.admit(self.request)
            if endpoint is None:
                endpoint = await self.server.open(self.request)
        except RequestError as error:
            return error_response(error)
        return endpoint

    async def exchange(self, endpoint: Endpoint, receive: Receive) -> Response | None:
        """Hand the request to its session; return the outcome. None: client lost."""
        self.endpoint = endpoint
        if self.action is Action.POST:
            self.start_post(endpoint)
        else:
            endpoint.start_poll(self)
        await self.take_in(receive)
        return self.outcome

    async def take_in(self, receive: Receive) -> None:
        """Take in what the client sends, until there is an outcome or it disconnects.

        An outcome wakes it by cancelling its task, as `asyncio.timeout` does: a second
        task would cost more than everything else that a poll needs.
        """
        task = asyncio.current_task()
        assert task is not None
        try:
            while self.outcome is None and not self.is_disconnected:
                self.waiting = task
                message = await receive()
                self.waiting = None
                self.receive(message)
        except asyncio.CancelledError:
            # It may have been cancelled twice, for another reason as well.
            if self.outcome is None or task.uncancel():
                raise
        finally:
            self.waiting = None

    def receive(self, message: Message) -> None:
        """Take in a piece of the body, or that the client has disconnected."""
        if message["type"] == "http.disconnect":
            self.is_disconnected = True
        elif self.action is Action.POST:
            self.receive_body(message)

    # A POST.

    def start_post(self, endpoint: Endpoint) -> None:
        """Announce the POST; end the session if it is an illegal one."""
        endpoint.start_post(self)
        headers = self.request.handshake.headers
        content_type = headers.get("content-type", "").partition(";")[0]
        if content_type.strip().lower() == "application/octet-stream":
            self.reject(endpoint, 400)
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and self.is_too_long(int(length[:18])):
            self.reject(endpoint, 413)

    def receive_body(self, message: Message) -> None:
        """Collect the body; hand it over when it is whole."""
        endpoint = self.endpoint
        assert endpoint is not None
        piece = message.get("body", b"")
        if self.is_too_long(len(self.body) + len(piece)):
            self.reject(endpoint, 413)
            return
        self.body += piece
        if not message.get("more_body", False):
            endpoint.receive_payload(self, bytes(self.body))

    def is_too_long(self, length: int) -> bool:
        """Return whether a body is longer than the limit announced to the client."""
        return length > self.server.options.max_payload_bytes

    def reject(self, endpoint: Endpoint, status: int) -> None:
        """Stop reading a POST that is illegal, which ends its session.

        The server below closes the connection, or reads on and discards what arrives: a
        reset would deprive a client that is still writing of the answer.
        """
        self.refuse(status)
        endpoint.lose_post(self)

    # From the session.

    def answer(self, body: bytes) -> None:
        """Answer a poll or a handshake with packets."""
        headers = []
        if self.action is Action.OPEN and self.http.cookie and self.endpoint:
            headers.append(cookie_header(self.http.cookie, self.endpoint.sid))
        self.settle(Response(200, body, TEXT, tuple(headers), may_compress=True))

    def accept(self) -> None:
        """Answer a POST whose packets were received."""
        self.settle(Response(200, b"ok", HTML))

    def refuse(self, status: int) -> None:
        """Answer with an error."""
        self.body.clear()
        self.settle(Response(status))

    def deny(self, error: RequestError) -> None:
        """Answer with an error that says why."""
        self.body.clear()
        self.settle(error_response(error))

    def settle(self, outcome: Response) -> None:
        """Choose the answer; the first choice counts."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        if self.waiting is not None:
            self.waiting.cancel()

    # The end.

    async def respond(self, response: Response) -> None:
        """Send the answer; report it to the session unless the connection was lost."""
        is_lost = self.is_disconnected or is_closing(self.base_send)
        headers = self.request.handshake.headers
        for message in http_messages(response, headers, self.http):
            await self.base_send(message)
        if self.endpoint is not None and self.action is not Action.POST and not is_lost:
            self.endpoint.answer_sent(self)

    def leave(self) -> None:
        """Report the end to the session; ignored if the request was answered."""
        if self.endpoint is None:
            return
        if self.action is Action.POST:
            self.endpoint.lose_post(self)
        else:
            self.endpoint.lose_poll(self)
