"""Middleware for input that no row can hold: NUL characters, ids that are not ids."""

from __future__ import annotations

import logging

from django.core.exceptions import ValidationError
from django.core.paginator import InvalidPage
from django.db import DataError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from serving.async_middleware import AsyncMiddleware
from serving.errors import handler404

logger = logging.getLogger(__name__)

_ENCODED, _REPLACEMENT = "%00", "%EF%BF%BD"
_IMPOSSIBLE = (DataError, InvalidPage, OverflowError, ValidationError)


class NulMiddleware(AsyncMiddleware):
    """Keep NUL out of the queries that views build from a request.

    In a query string, NUL is replaced with U+FFFD, as in messages; a path with NUL gets
    404; a cookie with NUL (quoted cookies can contain octal escapes) is ignored.
    """

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Remove NUL from the request, and pass it on."""
        if "\0" in request.path_info:
            return handler404(request, Http404())
        query = request.META.get("QUERY_STRING", "")
        request.META["QUERY_STRING"] = query.replace(_ENCODED, _REPLACEMENT)
        cookies = request.COOKIES
        for name in [name for name, value in cookies.items() if "\0" in value]:
            del cookies[name]
        return await self.get_response(request)


class AdminInputMiddleware(AsyncMiddleware):
    """Respond 400 to an address or a selection of the admin that cannot mean a row.

    In many places, Django's admin passes what it is sent to the database. If a number
    is not one, or has too many digits, it treats that as a fault of the server.
    """

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on."""
        return await self.get_response(request)

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponse | None:
        """Return 400 if the input made a view fail; called by Django."""
        if not request.path_info.startswith("/admin/") or not _is_input(exception):
            return None
        logger.warning(
            "invalid value in an address or a selection: %s", str(exception)[:200]
        )
        return HttpResponse(
            "This address or selection contains an invalid value.",
            status=400,
            content_type="text/plain; charset=utf-8",
        )


def _is_input(exception: Exception) -> bool:
    if isinstance(exception, ValueError):
        # The first is Django's message about an id, the second Python's about a year.
        text = str(exception)
        return text.startswith("Field '") or "out of range" in text
    return isinstance(exception, _IMPOSSIBLE)
