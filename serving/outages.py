"""Deadlines for a request's database queries, and the response in an outage."""

from __future__ import annotations

import logging
import time

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from llmchat import database
from llmchat.errors import REFUSALS
from serving.async_middleware import AsyncMiddleware

logger = logging.getLogger("llmchat.api")

RETRY_AFTER_S = 5
# Some of the admin's pages aggregate a month.
_ADMIN_S = 15.0


class DatabaseMiddleware(AsyncMiddleware):
    """Give each request a deadline for its queries, and respond 503 in an outage."""

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Set the deadline for all queries of the request."""
        is_page = request.path_info.startswith("/admin/") and request.method == "GET"
        wait_s = _ADMIN_S if is_page else database.DEADLINE_S
        with database.until(time.monotonic() + wait_s):
            return await self.get_response(request)

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponse | None:
        """Return 503 if a view failed because of the database; called by Django."""
        if not isinstance(exception, (OperationalError, InterfaceError)):
            return None
        database.note_failure(exception)
        if not database.outage.lasts:  # an outage is logged once
            logger.error(
                "a page failed because the database does not answer: %s", exception
            )
        status, text = REFUSALS["database_unavailable"]
        response = HttpResponse(
            f"{text}.",
            status=status,
            content_type="text/plain; charset=utf-8",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )
        response._has_been_logged = True  # type: ignore[attr-defined]
        return response
