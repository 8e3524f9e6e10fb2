"""Plain views that are only read."""

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
    """Let a view be read, and respond 405 to any other method."""
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

    # Without a CSRF token, too, it is the method that is wrong.
    exempt: View = csrf_exempt(guarded)
    return exempt


def _refusal(request: HttpRequest) -> JsonResponse | None:
    if request.method in _METHODS:
        return None
    text = f'Method "{request.method}" not allowed.'
    error = {"error": text, "code": "method_not_allowed"}
    return JsonResponse(error, status=405, headers={"Allow": ", ".join(_METHODS)})
