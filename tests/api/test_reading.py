"""Plain views that are read-only refuse every other method in JSON."""

from __future__ import annotations

import json

import pytest
from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.test import AsyncRequestFactory, Client, RequestFactory

from llmchat.api.reading import reading


@reading
def at_once(request: HttpRequest) -> HttpResponse:
    return HttpResponse("read")


@reading
async def in_a_while(request: HttpRequest) -> HttpResponse:
    return HttpResponse("read")


def check(read: HttpResponse, refused: HttpResponse) -> None:
    assert (read.status_code, read.content) == (200, b"read")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")
    assert json.loads(refused.content)["code"] == "method_not_allowed"


def test_a_view() -> None:
    made = RequestFactory()

    check(at_once(made.get("/x")), at_once(made.post("/x")))
    assert not iscoroutinefunction(at_once)


async def test_a_view_that_waits() -> None:
    made = AsyncRequestFactory()

    check(await in_a_while(made.get("/x")), await in_a_while(made.delete("/x")))
    assert iscoroutinefunction(in_a_while)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_the_method_is_wrong_whether_or_not_a_form_sends_it(path: str) -> None:
    answer = Client(enforce_csrf_checks=True).post(path)

    assert answer.status_code == 405
