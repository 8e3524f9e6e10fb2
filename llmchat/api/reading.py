"""A decorator for plain views that are read-only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

View = TypeVar("View", bound=Callable[..., HttpResponse | Awaitable[HttpResponse]])
_METHODS = ("GET", "HEAD")


def reading(view: View) -> View:
    """Let a view handle GET and HEAD, and respond 405 to any other method."""
    read: Any = view
    guarded: Any

    if iscoroutinefunction(view):

        @wraps(view)
        async def guarded(request: HttpRequest) -> HttpResponse:
            return _refusal(request) or await read(request)

    else:

        @wraps(view)
        def guarded(request: HttpRequest) -> HttpResponse:
            return _refusal(request) or read(request)

    # A POST without a CSRF token gets this 405, too, and not Django's 403.
    exempt: View = csrf_exempt(guarded)
    return exempt


def _refusal(request: HttpRequest) -> JsonResponse | None:
    if request.method in _METHODS:
        return None
    text = f'Method "{request.method}" not allowed.'
    error = {"error": text, "code": "method_not_allowed"}
    return JsonResponse(error, status=405, headers={"Allow": ", ".join(_METHODS)})
