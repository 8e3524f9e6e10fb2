"""What a request may ask of the database, and what it is told without one."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from asgiref.sync import markcoroutinefunction
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from llmchat import database
from llmchat.errors import REFUSALS

logger = logging.getLogger("llmchat.api")

RETRY_AFTER_S = 5
# Some of the admin's pages add up a month.
_ADMIN_S = 15.0


class DatabaseMiddleware:
    """Gives each request its time at the database, and a page that says it is away."""

    async_capable = True
    sync_capable = False

    def __init__(
        self, get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]
    ) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Set the deadline for all that the request asks of the database."""
        is_page = request.path_info.startswith("/admin/") and request.method == "GET"
        wait_s = _ADMIN_S if is_page else database.DEADLINE_S
        with database.until(time.monotonic() + wait_s):
            return await self.get_response(request)

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponse | None:
        """Called by Django for a view that has failed, the API's aside."""
        if not isinstance(exception, (OperationalError, InterfaceError)):
            return None
        database.note_failure(exception)
        if not database.outage.lasts:  # which is told once
            logger.error("a page needs the database: %s", exception)
        status, text = REFUSALS["database_unavailable"]
        response = HttpResponse(
            f"{text}.",
            status=status,
            content_type="text/plain; charset=utf-8",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )
        response._has_been_logged = True  # type: ignore[attr-defined]
        return response
