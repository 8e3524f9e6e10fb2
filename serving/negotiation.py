"""Content negotiation: JSON, also for `Accept: text/event-stream`."""

from __future__ import annotations

from collections.abc import Iterable

from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class ContentNegotiation(DefaultContentNegotiation):
    """REST framework's negotiation, which also accepts `Accept: text/event-stream`.

    Whether an answer is streamed depends on the request's body; errors are always JSON.
    A view that responds with another type names it in `media_types`.
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
            view = request.parser_context.get("view")
            types = ("text/event-stream", *getattr(view, "media_types", ()))
            if not any(map(request._request.accepts, types)):
                raise
            return known[0], str(known[0].media_type)
        return renderer, str(media_type)
