"""Requests as the server passes them to Django's handler: bodies and headers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from rest_framework_simplejwt.tokens import AccessToken

from serving.in_loop import Handler
from tests.support.api_keys import make_user

JSON = {"content-type": "application/json"}
CHUNKED = {"transfer-encoding": "chunked"}
REFRESH = json.dumps({"refresh": "no token"}).encode()
MANY = b"&".join([b"x"] * 10_001)
LIST = "/llm/conversations"


async def answer_to(
    method: str,
    path: str,
    headers: Mapping[str, str],
    *pieces: bytes,
    query: bytes = b"",
) -> tuple[int, dict[str, str], Any]:
    """Return the status, the headers and the body of a response."""
    sent = {"host": "testserver", **headers}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
    }
    left = list(pieces) or [b""]
    responses: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()  # the client stays connected
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def send(message: dict[str, Any]) -> None:
        responses.append(message)

    await Handler().handle(scope, receive, send)
    await sync_to_async(connections.close_all)()
    start, *parts = responses
    told = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    body = b"".join(part["body"] for part in parts)
    return start["status"], told, json.loads(body)


@pytest.mark.parametrize(
    "headers", [{"content-length": str(len(REFRESH))}, CHUNKED, {}], ids=str
)
async def test_a_body_is_read_whatever_is_said_of_its_length(
    headers: dict[str, str],
) -> None:
    pieces = REFRESH[:5], REFRESH[5:]
    status, _, told = await answer_to(
        "POST", "/auth/token/refresh", JSON | headers, *pieces
    )

    assert (status, told["code"]) == (401, "token_invalid")


async def test_who_sends_no_body_need_not_say_so(transactional_db: None) -> None:
    """An example is `curl -X POST`."""
    token = AccessToken.for_user(await make_user("ann"))
    status, _, told = await answer_to(
        "POST", LIST, {"authorization": f"Bearer {token}"}
    )

    assert (status, told["title"]) == (201, "")


@pytest.mark.parametrize("headers", [{}, {"content-type": "text/plain; charset=ascii"}])
@pytest.mark.parametrize("path", [LIST, "/auth/me", "/v1/models"])
async def test_too_many_parameters_are_the_clients_fault(
    path: str, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    status, sent, told = await answer_to("GET", path, headers, query=MANY)

    error = told["error"] if path.startswith("/v1") else told
    assert (status, error["code"]) == (400, "bad_request")
    assert sent["x-request-id"]
    assert "a view failed" not in caplog.text


@pytest.mark.parametrize("charset", ["none", "undefined"])
async def test_a_content_type_that_cannot_be_read_is_none_that_is_taken(
    charset: str,
) -> None:
    headers = {"content-type": f"application/json; x*={charset}''%41"}
    read = await answer_to("GET", "/healthz", headers)
    status, sent, told = await answer_to(
        "POST", "/auth/token/refresh", headers, REFRESH
    )

    assert (read[0], status) == (200, 415)
    assert told["code"] == "unsupported_media_type"
    assert sent["x-request-id"]
