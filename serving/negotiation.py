"""Which answers a client takes: JSON, whatever else is said of server-sent events."""

from __future__ import annotations

from collections.abc import Iterable

from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class ContentNegotiation(DefaultContentNegotiation):
    """REST framework's own, which also takes `Accept: text/event-stream`.

    Whether a turn is streamed is said in its body; what is refused is refused in JSON.
    """

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        """Return a renderer and its media type. Raises: NotAcceptable."""
        known = list(renderers)
        try:
            renderer, media_type = super().select_renderer(
                request, known, format_suffix
            )
        except NotAcceptable:
            if not request._request.accepts("text/event-stream"):
                raise
            return known[0], str(known[0].media_type)
        return renderer, str(media_type)
