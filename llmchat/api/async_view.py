"""REST framework for handlers that wait: async views and server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from itertools import accumulate
from typing import Any, TypeVar

import orjson
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.verified import Verified
from llmchat import log_fields
from llmchat.answers.events import End, Started, Token
from llmchat.answers.follower import Follower
from llmchat.api.key_uses import store_uses
from llmchat.api.wire import NAMES, payload, token_begin, token_rests
from llmchat.database import read_database
from llmchat.errors import ChatError

# The id of a stream's last event: there is nothing behind it.
END_ID = "end"

_EVENTS = "text/event-stream"
# Proxies that buffer would hold the tokens back.
_UNBUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

Answer = TypeVar("Answer", bound=HttpResponseBase)


class AsyncAPIView(APIView):
    """REST framework's view for `async def` handlers.

    The steps are REST framework's own. Those that may ask the database borrow a
    thread for the moment; none is held while the handler waits.
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
            # REST framework's own boundary: the exception handler answers them all.
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
        # A server may pass on any method, such as one that an attribute is called by.
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
    """Return the response, which Django does not log where it tells of no fault.

    A server that is told to stop refuses what comes, and cuts off what it writes; one
    without its database has said so.
    """
    if error.code in ("draining", "database_unavailable"):
        response._has_been_logged = True  # type: ignore[attr-defined]
    return response


class EventStream(StreamingHttpResponse):
    """Server-sent events, named and shaped as the events of Socket.IO.

    The id of each is the number of characters that its client has by then, so that any
    worker can go on behind it; that of the end is `END_ID`. The response leaves the
    answer as soon as its client is gone, which a plain streaming response leaves to
    chance.
    """

    def __init__(self, encoded: AsyncGenerator[bytes, None]) -> None:
        """Take events whose generator has begun."""
        self._encoded = encoded
        super().__init__(encoded, content_type=_EVENTS, headers=_UNBUFFERED)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._encoded


def stream_headers() -> HttpResponse:
    """Return the headers of an `EventStream`, for a HEAD: it follows nothing."""
    return HttpResponse(content_type=_EVENTS, headers=_UNBUFFERED)


async def follow(follower: Follower, started: Started | None) -> EventStream:
    """Return what a follower reads; without `started` the stream leaves that out."""
    return await begun_stream(_numbered(follower, started))


async def begun_stream(encoded: AsyncGenerator[bytes, None]) -> EventStream:
    """Return the events of a generator, whose first yield is before any of them."""
    # A generator that has not begun would not leave the answer when it is dropped.
    await anext(encoded)
    return EventStream(encoded)


async def _numbered(
    follower: Follower, started: Started | None
) -> AsyncGenerator[bytes, None]:
    try:
        yield b""
        # A comment where there is nothing to tell yet: it takes the headers along.
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
