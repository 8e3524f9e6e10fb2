"""The error responses of the REST API: `{"error": text, "code": code}`.

If waiting helps, `retryAfter` and the header `Retry-After` say for how many seconds.

An exception with the attributes `code`, `text` and `status` (and perhaps `retry_after`,
in seconds) describes its own response. REST framework's exceptions are translated here,
and an outage of the database or of Redis becomes `database_unavailable`. Anything else
is a bug: it is logged, and the client gets `internal_error`.
"""

from __future__ import annotations

import logging
import math
import re
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from llmchat import database
from llmchat.api.openai import errors as openai_errors
from llmchat.cache import is_of_redis
from llmchat.errors import REFUSALS

logger = logging.getLogger("llmchat.api")

_API_PATH = re.compile(r"/(auth|llm|v1)(/|$)")
INTERNAL_ERROR = {"error": REFUSALS["internal_error"][1], "code": "internal_error"}
BAD_REQUEST = {"error": "The request cannot be served", "code": "bad_request"}
NOT_FOUND = {"error": "There is nothing at this address", "code": "not_found"}

_DATABASE_RETRY_S = 5
CODES = {
    400: "bad_request",
    401: "token_missing",
    403: "permission_denied",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "payload_too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
    503: "server_busy",
}
_TEXTS = {
    401: "Authentication token missing",
    403: "You may not do this",
    404: NOT_FOUND["error"],
    429: "Rate limit exceeded",
}


def api_exception_handler(exc: Exception, context: dict[str, Any]) -> Response:
    """Return the response to an exception of a REST framework view."""
    set_rollback()
    exc = _translated(exc)
    if getattr(exc, "status", None) == HTTPStatus.UNAUTHORIZED or isinstance(
        exc, exceptions.NotAuthenticated
    ):
        exc = _wrong_method(context) or exc
    if isinstance(exc, exceptions.APIException):
        return _answer_to_framework_error(exc)
    if hasattr(exc, "code") and hasattr(exc, "text") and hasattr(exc, "status"):
        wait = getattr(exc, "retry_after", None)
        response = _answer(exc.status, exc.text, exc.code, wait)
        if exc.code == "deletion_unfinished":  # not a fault, but Django would log it
            response._has_been_logged = True  # type: ignore[attr-defined]
        return response
    if isinstance(exc, (OperationalError, InterfaceError)) or is_of_redis(exc):
        database.note_failure(exc)
        if not database.outage.lasts:  # an outage is logged once
            logger.error("the database or Redis does not answer: %s", exc)
        status, text = REFUSALS["database_unavailable"]
        response = _answer(status, text, "database_unavailable", _DATABASE_RETRY_S)
        response._has_been_logged = True  # type: ignore[attr-defined]
        return response
    logger.error("a view failed", exc_info=exc)
    return Response(INTERNAL_ERROR, status=500)


def _translated(exc: Exception) -> Exception:
    if isinstance(exc, Http404):
        return exceptions.NotFound()
    if isinstance(exc, PermissionDenied):
        return exceptions.PermissionDenied()
    if isinstance(exc, SuspiciousOperation):
        return exceptions.ParseError(BAD_REQUEST["error"])
    return exc


def _wrong_method(context: dict[str, Any]) -> exceptions.MethodNotAllowed | None:
    """Return the error for a method that the view does not have.

    REST framework checks the token first and would respond 401.
    """
    view, request = context.get("view"), context.get("request")
    if view is None or request is None or request.method in view.allowed_methods:
        return None
    return exceptions.MethodNotAllowed(request.method)


def _answer_to_framework_error(exc: exceptions.APIException) -> Response:
    status = exc.status_code
    text = _TEXTS.get(status) or _first_text(exc.detail)
    wait = getattr(exc, "wait", None)
    return _answer(status, text, CODES.get(status, str(exc.default_code)), wait)


def _answer(
    status: int, text: str, code: str, retry_after: float | None = None
) -> Response:
    response = Response({"error": text, "code": code}, status=status)
    if status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = "Bearer"
    if retry_after is not None:
        seconds = max(1, math.ceil(retry_after))
        response["Retry-After"] = str(seconds)
        response.data["retryAfter"] = seconds
    return response


def _first_text(detail: Any, field: str = "") -> str:
    """Return the first of a serializer's errors as one sentence."""
    if isinstance(detail, dict):
        name, inner = next(iter(detail.items()))
        return _first_text(inner, field if name == "non_field_errors" else str(name))
    if isinstance(detail, list):
        first = next((part for part in detail if part), "invalid")
        return _first_text(first, field)
    return f"{field}: {detail}" if field else str(detail)


@csrf_exempt
def api_not_found(request: HttpRequest, path: str = "") -> JsonResponse:
    """Respond 404 to an unknown path of the API, even with debug on."""
    return JsonResponse(shaped(request.path_info, 404, NOT_FOUND), status=404)


def no_page(request: HttpRequest) -> HttpResponse:
    """Respond with the page for "not found", even with debug on."""
    return render(request, "404.html", status=404)


def shaped(path: str, status: int, fields: dict[str, str]) -> dict[str, Any]:
    """Return an error's fields in the form that the API at this path uses."""
    if not openai_errors.is_below(path):
        return fields
    return openai_errors.error_object(status, fields["error"], fields["code"])


def _is_api(request: HttpRequest) -> bool:
    return _API_PATH.match(request.path_info) is not None


def handler400(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Called by Django for a suspicious request, such as one with a wrong `Host`."""
    if _is_api(request):
        fields = shaped(request.path_info, 400, BAD_REQUEST)
        return JsonResponse(fields, status=400)
    return defaults.bad_request(request, exception)


def handler404(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Called by Django for an unknown path."""
    if _is_api(request):
        return api_not_found(request)
    return defaults.page_not_found(request, exception)


def handler500(request: HttpRequest) -> HttpResponse:
    """Called by Django when a view that is not REST framework's raises."""
    if _is_api(request):
        fields = shaped(request.path_info, 500, INTERNAL_ERROR)
        return JsonResponse(fields, status=500)
    return defaults.server_error(request)
