"""REST framework for handlers that wait: async views and server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, TypeVar

import orjson
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.views import APIView

from llmchat.answers.events import StreamEvent
from llmchat.api.wire import NAMES, payload
from llmchat.database import read_database
from llmchat.errors import ChatError

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
        # REST framework takes a body without an announced length for none at all.
        request.META.setdefault("CONTENT_LENGTH", "-1")
        self.request = request = self.initialize_request(request, *args, **kwargs)
        self.headers = self.default_response_headers
        response: HttpResponseBase
        try:
            await read_database(self._initial, request)
            handler = getattr(
                self, str(request.method).lower(), self.http_method_not_allowed
            )
            response = handler(request, *args, **kwargs)
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

    def _initial(self, request: Request) -> None:
        self.initial(request, *self.args, **self.kwargs)


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

    `first` has been taken from `events` already. The response closes `events` as
    soon as its client is gone, which a plain streaming response leaves to chance.
    """

    def __init__(
        self, first: StreamEvent, events: AsyncGenerator[StreamEvent, None]
    ) -> None:
        self._encoded = _encoded(first, events)
        super().__init__(
            self._encoded,
            content_type="text/event-stream",
            # Proxies that buffer would hold the tokens back.
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._encoded


async def _encoded(
    first: StreamEvent, events: AsyncGenerator[StreamEvent, None]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        yield _encode(first)
        async for event in events:
            yield _encode(event)


def _encode(event: StreamEvent) -> bytes:
    name = NAMES[type(event)].encode()
    return b"event: %b\ndata: %b\n\n" % (name, orjson.dumps(payload(event)))
