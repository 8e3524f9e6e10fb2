"""The base class of Django middleware that runs on the event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asgiref.sync import markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

Respond = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


class AsyncMiddleware:
    """A middleware that needs no thread; `get_response` calls what follows it."""

    async_capable = True
    sync_capable = False

    def __init__(self, get_response: Respond) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Respond to a request."""
        raise NotImplementedError
