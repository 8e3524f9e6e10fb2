"""NUL characters in requests, which PostgreSQL neither stores nor compares."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asgiref.sync import markcoroutinefunction
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase

_ENCODED, _REPLACEMENT = "%00", "%EF%BF%BD"


class NulMiddleware:
    """Keep NUL out of the queries that views build from a request.

    In a query string it is replaced with U+FFFD, as in messages; a path with NUL gets
    404; a cookie with NUL (quoted cookies can contain octal escapes) is ignored.
    """

    async_capable = True
    sync_capable = False

    def __init__(
        self, get_response: Callable[..., Awaitable[HttpResponseBase]]
    ) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Remove NUL from the request, and pass it on."""
        if "\0" in request.path_info:
            raise Http404
        query = request.META.get("QUERY_STRING", "")
        request.META["QUERY_STRING"] = query.replace(_ENCODED, _REPLACEMENT)
        cookies = request.COOKIES
        for name in [name for name, value in cookies.items() if "\0" in value]:
            del cookies[name]
        return await self.get_response(request)
