"""Requests as the server hands them to Django's handler: what they hold, and say."""

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
LIST = "/llm/conversations"


async def answer_to(
    method: str,
    path: str,
    headers: Mapping[str, str],
    *pieces: bytes,
) -> tuple[int, dict[str, str], Any]:
    """Return the status, the headers and the body of a response."""
    sent = {"host": "testserver", **headers}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
    }
    left = list(pieces) or [b""]
    responses: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()  # its client stays
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
    """So does `curl -X POST`."""
    token = AccessToken.for_user(await make_user("ann"))
    status, _, told = await answer_to(
        "POST", LIST, {"authorization": f"Bearer {token}"}
    )

    assert (status, told["title"]) == (201, "")
