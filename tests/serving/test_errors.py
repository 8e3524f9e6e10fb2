"""The error responses of the REST API, and the error pages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import OperationalError
from django.http import Http404
from django.test import Client, RequestFactory
from redis.exceptions import RedisError
from rest_framework import exceptions as drf
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.errors import AttemptsError
from llmchat.errors import refusal
from serving import errors


class AnyView(APIView):
    """A view that has only GET."""

    def get(self, request: Request) -> None:
        """Never called."""


def answer_to(exc: Exception, method: str = "GET") -> Any:
    request = AnyView().initialize_request(RequestFactory().generic(method, "/llm/x"))
    return errors.api_exception_handler(exc, {"view": AnyView(), "request": request})


@pytest.mark.parametrize(
    ("exc", "status", "code"),
    [
        (drf.ParseError(), 400, "bad_request"),
        (drf.ValidationError({"model": ["too long"]}), 400, "bad_request"),
        (drf.NotAuthenticated(), 401, "token_missing"),
        (drf.PermissionDenied(), 403, "permission_denied"),
        (PermissionDenied(), 403, "permission_denied"),
        (SuspiciousOperation(), 400, "bad_request"),
        (drf.NotFound(), 404, "not_found"),
        (Http404(), 404, "not_found"),
        (drf.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
        (drf.UnsupportedMediaType("text/x"), 415, "unsupported_media_type"),
        (drf.Throttled(wait=7.2), 429, "rate_limited"),
        (OperationalError("gone"), 503, "database_unavailable"),
        (RedisError("gone"), 503, "database_unavailable"),
        (refusal("session_active"), 409, "session_active"),
        (ZeroDivisionError(), 500, "internal_error"),
    ],
)
def test_an_error_has_one_shape(exc: Exception, status: int, code: str) -> None:
    answer = answer_to(exc)

    assert answer.status_code == status
    assert answer.data["code"] == code
    assert answer.data.keys() - {"retryAfter"} == {"error", "code"}
    assert answer.data["error"]


@pytest.mark.parametrize(
    ("detail", "text"),
    [
        ({"model": ["too long", "too odd"]}, "model: too long"),
        ({"messages": [{}, {"role": ["unknown"]}]}, "role: unknown"),
        ({"non_field_errors": ["no object"]}, "no object"),
        (["wrong"], "wrong"),
        ([], "invalid"),
    ],
)
def test_the_first_complaint_is_the_sentence(detail: Any, text: str) -> None:
    assert answer_to(drf.ValidationError(detail)).data["error"] == text


def test_waiting_is_told_in_whole_seconds() -> None:
    for exc, seconds in (
        (drf.Throttled(wait=7.2), 8),
        (refusal("rate_limited", retry_after=30), 30),
        (AttemptsError(3), 3),
        (OperationalError("gone"), 5),
    ):
        answer = answer_to(exc)
        assert answer.headers["Retry-After"] == str(seconds)
        assert answer.data["retryAfter"] == seconds
    assert "retryAfter" not in answer_to(drf.Throttled()).data


def test_a_wrong_method_counts_before_a_missing_token() -> None:
    assert answer_to(drf.NotAuthenticated(), "PUT").status_code == 405


def test_a_fault_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    answer = answer_to(ValueError("sk-secret"))

    assert "sk-secret" not in json.dumps(answer.data)
    assert "a view failed" in caplog.text


def test_a_page_that_does_not_exist_is_html(client: Client) -> None:
    answer = client.get("/no-such-page")

    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(
    ("path", "kind"), [("/llm/x", "application/json"), ("/x", "text/html")]
)
def test_a_fault_outside_the_framework_answers_in_kind(path: str, kind: str) -> None:
    answer = errors.handler500(RequestFactory().get(path))

    assert answer.status_code == 500
    assert answer.headers["Content-Type"].startswith(kind)
