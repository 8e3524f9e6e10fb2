"""One id for each request, in the log and in its response."""

from __future__ import annotations

import re
from secrets import token_hex

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from llmchat import log_fields
from serving.async_middleware import AsyncMiddleware

HEADER = "X-Request-ID"
# Ids that are accepted from a proxy or a client; others could garble the log.
_SANE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def identified(sent: str) -> str:
    """Return the id that a request brings, or a new one if it has no usable id."""
    return sent if _SANE.fullmatch(sent) else token_hex(8)


class RequestIdMiddleware(AsyncMiddleware):
    """Give each request the id that it brings, or a new one."""

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Put the id into the log's fields and into the response."""
        ident = identified(request.META.get("HTTP_X_REQUEST_ID", ""))
        # Not reset after the response, because its body may still be written then. The
        # server has a task for each request, so the id does not leak into another.
        log_fields.begin(requestId=ident)
        response = await self.get_response(request)
        response.headers[HEADER] = ident
        return response
