"""One id for each request, in the log and in its response."""

from __future__ import annotations

import re
from secrets import token_hex

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from llmchat import log_fields
from serving.async_middleware import AsyncMiddleware

HEADER = "X-Request-ID"
# What a proxy or a client sends; anything else could make a mess of somebody's log.
_SANE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def identified(sent: str) -> str:
    """Return the id that a request brings, or a new one in its place."""
    return sent if _SANE.fullmatch(sent) else token_hex(8)


class RequestIdMiddleware(AsyncMiddleware):
    """Take over the id that a request brings, or make one."""

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Name the request in the log, and the id in the response."""
        ident = identified(request.META.get("HTTP_X_REQUEST_ID", ""))
        # Not reset behind the response, whose body may be written yet: the server
        # has a task for each request.
        log_fields.begin(requestId=ident)
        response = await self.get_response(request)
        response.headers[HEADER] = ident
        return response
