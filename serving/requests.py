"""How Django takes requests from the server, once their bodies have arrived."""

from __future__ import annotations

from collections.abc import Mapping
from io import SEEK_END
from typing import IO, Any

from django.core.exceptions import SuspiciousOperation
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.http.response import HttpResponseBase

Scope = Mapping[str, Any]
_LENGTH = b"content-length"


class TakesRequests(ASGIHandler):
    """A handler that takes requests whatever their headers say of their bodies.

    It measures a body of unannounced length. A content type that cannot be read is left
    out: a view that needs one refuses the request like any other of a wrong type.
    """

    def create_request(
        self, scope: Scope, body_file: IO[bytes]
    ) -> tuple[ASGIRequest, None] | tuple[None, HttpResponseBase]:
        """Return the request; called by Django."""
        scope = _measured(scope, body_file)
        try:
            return super().create_request(scope, body_file)
        except (SuspiciousOperation, ValueError):
            return super().create_request(_without_type(scope), body_file)


def _measured(scope: Scope, body_file: IO[bytes]) -> Scope:
    """Return the scope with the length of a body that arrived in chunks.

    REST framework treats a body without an announced length as missing.
    """
    headers = scope["headers"]
    if any(name == _LENGTH for name, _ in headers):
        return scope
    body_file.seek(0, SEEK_END)
    length = str(body_file.tell()).encode()
    body_file.seek(0)
    return {**scope, "headers": [*headers, (_LENGTH, length)]}


def _without_type(scope: Scope) -> Scope:
    headers = [header for header in scope["headers"] if header[0] != b"content-type"]
    return {**scope, "headers": headers}
