"""Requests as Django takes them from the server, once their bodies are there."""

from __future__ import annotations

from collections.abc import Mapping
from io import SEEK_END
from typing import IO, Any

from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.http.response import HttpResponseBase

Scope = Mapping[str, Any]
_LENGTH = b"content-length"


class TakesRequests(ASGIHandler):
    """A handler that knows how long each body is, whatever its client has said."""

    def create_request(
        self, scope: Scope, body_file: IO[bytes]
    ) -> tuple[ASGIRequest, None] | tuple[None, HttpResponseBase]:
        """Return the request; called by Django."""
        return super().create_request(_measured(scope, body_file), body_file)


def _measured(scope: Scope, body_file: IO[bytes]) -> Scope:
    """Return the scope with the length of a body that came in chunks.

    REST framework takes a body without an announced length for none at all.
    """
    headers = scope["headers"]
    if any(name == _LENGTH for name, _ in headers):
        return scope
    body_file.seek(0, SEEK_END)
    length = str(body_file.tell()).encode()
    body_file.seek(0)
    return {**scope, "headers": [*headers, (_LENGTH, length)]}
