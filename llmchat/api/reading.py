"""Plain views that are only read."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

View = Callable[[HttpRequest], HttpResponse]
_METHODS = ("GET", "HEAD")


def reading(view: View) -> View:
    """Let a view be read, and respond 405 to any other method."""

    @csrf_exempt  # without a token, too, it is the method that is wrong
    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        if request.method in _METHODS:
            return view(request)
        text = f'Method "{request.method}" not allowed.'
        error = {"error": text, "code": "method_not_allowed"}
        return JsonResponse(error, status=405, headers={"Allow": ", ".join(_METHODS)})

    return guarded
