"""NUL characters in requests, which PostgreSQL neither stores nor compares."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asgiref.sync import markcoroutinefunction
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase

_ENCODED, _REPLACEMENT = "%00", "%EF%BF%BD"


class NulMiddleware:
    """Keeps NUL out of the database queries that views make from addresses.

    In a query string it is replaced by U+FFFD, as in messages; a path with one is not
    found; a cookie with one, which quotes can hold in octal, is ignored.
    """

    async_capable = True
    sync_capable = False

    def __init__(
        self, get_response: Callable[..., Awaitable[HttpResponseBase]]
    ) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on without NUL."""
        if "\0" in request.path_info:
            raise Http404
        query = request.META.get("QUERY_STRING", "")
        request.META["QUERY_STRING"] = query.replace(_ENCODED, _REPLACEMENT)
        cookies = request.COOKIES
        for name in [name for name, value in cookies.items() if "\0" in value]:
            del cookies[name]
        return await self.get_response(request)
