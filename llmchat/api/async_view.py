"""REST framework for handlers that wait: async views and server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from itertools import accumulate
from typing import Any, TypeVar

import orjson
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from accounts.rest_view import RestView
from accounts.verified import Verified
from llmchat import log_fields
from llmchat.answers.events import End, Started, Token
from llmchat.answers.follower import Follower
from llmchat.api.key_uses import store_uses
from llmchat.api.wire import NAMES, payload, token_begin, token_rests
from llmchat.database import read_database
from llmchat.errors import ChatError

# The id of a stream's last event: nothing follows it.
END_ID = "end"

_EVENTS = "text/event-stream"
# Proxies that buffer would hold the tokens back.
_UNBUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

Answer = TypeVar("Answer", bound=HttpResponseBase)


class AsyncAPIView(RestView):
    """REST framework's view for `async def` handlers.

    The steps are REST framework's own. Those that may query the database borrow a
    thread for that time; none is held while the handler waits.
    """

    async def dispatch(  # type: ignore[override]
        self, request: Any, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        """Called with every request to the view."""
        self.args, self.kwargs = args, kwargs
        self.request = request = self.initialize_request(request, *args, **kwargs)
        self.headers = self.default_response_headers
        response: HttpResponseBase
        try:
            await read_database(self._initial, request)
            await store_uses()
            log_fields.add(userId=request.user.pk)
            response = self._handler(request)(request, *args, **kwargs)
            if not isinstance(response, HttpResponseBase):
                response = await response
        except Exception as exc:
            # As in REST framework, the exception handler responds to all of them.
            response = self.handle_exception(exc)
            if isinstance(exc, ChatError):
                response = quiet(response, exc)
        return self.finalize_response(  # takes every response, whatever the stubs say
            request,
            response,  # type: ignore[arg-type]
            *args,
            **kwargs,
        )

    def _handler(self, request: Request) -> Callable[..., Any]:
        name = str(request.method).lower()
        # A server may pass on any method, even one that is the name of an attribute.
        if name not in self.http_method_names:
            return self.http_method_not_allowed
        handler: Callable[..., Any] = getattr(self, name, self.http_method_not_allowed)
        return handler

    def _initial(self, request: Request) -> None:
        self.initial(request, *self.args, **self.kwargs)


def user_id_of(request: Request) -> int:
    """Return the id of the user whose token a request has."""
    return int(request.user.pk or 0)


def verified_of(request: Request) -> Verified:
    """Return what the access token or API key of a request says."""
    verified = request.auth
    assert isinstance(verified, Verified)  # by the authentication class
    return verified


def quiet(response: Answer, error: ChatError) -> Answer:
    """Return the response, which Django does not log if the error is no fault.

    A server that is stopping refuses requests and cuts off answers on purpose. An
    outage of the database has been logged already.
    """
    if error.code in ("draining", "database_unavailable"):
        response._has_been_logged = True  # type: ignore[attr-defined]
    return response


class EventStream(StreamingHttpResponse):
    """A response of server-sent events.

    It leaves the answer as soon as its client is gone; a plain streaming response
    would leave that moment to chance.
    """

    def __init__(self, encoded: AsyncGenerator[bytes, None]) -> None:
        """Take encoded events, from a generator that has begun."""
        self._encoded = encoded
        super().__init__(encoded, content_type=_EVENTS, headers=_UNBUFFERED)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._encoded


def stream_headers() -> HttpResponse:
    """Return only the headers of an `EventStream`, for a HEAD request."""
    return HttpResponse(content_type=_EVENTS, headers=_UNBUFFERED)


async def follow(follower: Follower, started: Started | None) -> EventStream:
    """Return what a follower reads, as events named and shaped as those of Socket.IO.

    The id of each is the number of characters that the client has by then, so any
    worker can continue after it; the id of the end is `END_ID`. Without `started` the
    stream has no start.
    """
    return await begun_stream(_numbered(follower, started))


async def begun_stream(encoded: AsyncGenerator[bytes, None]) -> EventStream:
    """Return the events of a generator; its first yield, before them, is dropped."""
    # The `finally` of a generator that has not begun does not run when it is dropped,
    # so the answer would not be left.
    await anext(encoded)
    return EventStream(encoded)


async def _numbered(
    follower: Follower, started: Started | None
) -> AsyncGenerator[bytes, None]:
    try:
        yield b""
        # Without a start a comment is sent, for the headers to go out with it.
        yield b":\n\n" if started is None else _encode(started, str(follower.at))
        begin = f"event: {NAMES[Token]}\ndata: {token_begin(follower.session_id)}"
        while texts := await follower.read():
            ends = accumulate(map(len, texts), initial=follower.at - _chars(texts))
            next(ends)
            yield "".join(
                f"{begin}{rest}\nid: {at}\n\n"
                for at, rest in zip(ends, token_rests(texts), strict=True)
            ).encode()
        yield _encode(await follower.ended(), END_ID)
    finally:
        await follower.leave()


def _chars(texts: list[str]) -> int:
    return sum(map(len, texts))


def _encode(event: Started | End, ident: str) -> bytes:
    name, data = NAMES[type(event)].encode(), orjson.dumps(payload(event))
    return b"event: %b\ndata: %b\nid: %b\n\n" % (name, data, ident.encode())
