"""What the consumers share: the server they belong to, the request, its refusal.

They move bytes between ASGI and the sessions. They know HTTP and WebSockets, but not
what is in a packet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar

from channels.consumer import AsyncConsumer

from .cors import HttpOptions
from .engineio.errors import RequestError
from .request import Request, read_request
from .responses import denial_messages, error_response

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class EngineConsumer(AsyncConsumer):
    """One request or WebSocket.

    Channels' own dispatching is bypassed: before each message it closes old database
    connections in a thread, which lets requests overtake one another. Nothing here
    uses the database.
    """

    http: ClassVar[HttpOptions] = HttpOptions()

    request: Request

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> Any:
        """Return the ASGI application.

        Neither it nor anything it calls keeps the scope: WebSockets live long, and
        there are many of them.
        """

        def application(
            scope: Message, receive: Receive, send: Send
        ) -> Awaitable[None]:
            return cls(**initkwargs)(scope, receive, send)

        return application

    def __call__(
        self, scope: Message, receive: Receive, send: Send
    ) -> Coroutine[Any, Any, None]:
        """Take in the request, and return what serves it."""
        self.begin(scope, send)
        return self.serve(receive)

    async def serve(self, receive: Receive) -> None:
        """Answer the request, or serve the WebSocket until its end."""
        raise NotImplementedError

    def begin(self, scope: Message, send: Send) -> None:
        """Take in the request."""
        self.extensions = scope.get("extensions") or {}
        self.request = read_request(scope)
        self.base_send = send

    async def refuse_handshake(self, error: RequestError) -> None:
        """Refuse a WebSocket handshake, with status and body if the server can do that.

        The consumer ends with the disconnect that follows: uvicorn complains if it
        returns earlier, while the handshake is open.
        """
        if "websocket.http.response" not in self.extensions:
            await self.base_send({"type": "websocket.close"})
            return
        headers = self.request.handshake.headers
        for message in denial_messages(error_response(error), headers, self.http):
            await self.base_send(message)
