"""The REST counterpart of the stream, with plain requests and with SSE."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.support.live import LiveServer
from tests.support.stock_client import connected_client, stock_client

HELLO: dict[str, Any] = {
    "provider": "local",
    "messages": [{"role": "user", "content": "Hello!"}],
    "maxTokens": 12,
}


@pytest.fixture(scope="module")
def server_env() -> Mapping[str, str]:
    """The project's own settings: one test logs in at the full cost of a hash."""
    return {"DJANGO_SETTINGS_MODULE": "config.settings"}


def post(
    server: LiveServer, token: str, body: Any = HELLO, path: str = "/llm/chat"
) -> httpx.Response:
    """POST a chat, as JSON or as exactly the bytes given."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(
        server.url + path,
        content=content,
        headers={
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {token}"} if token else {}),
        },
        timeout=60,
    )


def parse_events(lines: Iterable[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return the (event, data) pairs of a text/event-stream."""
    events: list[tuple[str, dict[str, Any]]] = []
    name = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            events.append((name, json.loads(value)))
    return events


@pytest.mark.parametrize("path", ["/llm/chat", "/llm/chat/"])
def test_chat_answers_one_json_object(server: LiveServer, path: str) -> None:
    response = post(server, server.account().access, path=path)
    answer = response.json()
    assert response.status_code == 200
    assert answer["fullResponse"]
    assert answer["provider"] == "local"
    assert 1 <= answer["tokenCount"] <= 12
    assert answer["sessionId"]
    assert type(answer["timestamp"]) is int
    assert {"model", "conversationId", "messageId", "finishReason", "usage"} <= {
        *answer
    }


def test_chat_streams_server_sent_events(server: LiveServer) -> None:
    account = server.account()
    with httpx.stream(
        "POST",
        f"{server.url}/llm/chat",
        json={**HELLO, "stream": True},
        headers=account.headers,
        timeout=60,
    ) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        events = parse_events(response.iter_lines())
    names = [name for name, _ in events]
    assert names[0] == "llm:stream:start"
    assert set(names[1:-1]) == {"llm:stream:token"}
    assert names[-1] == "llm:stream:done"
    text = "".join(data["token"] for name, data in events if "token" in data)
    assert text == events[-1][1]["fullResponse"]


async def test_closed_connection_cancels_the_stream(server: LiveServer) -> None:
    account = server.account()
    body = {
        **HELLO,
        "messages": [{"role": "user", "content": "Tell me a long story."}],
        "maxTokens": 500,
        "stream": True,
    }
    lines: list[str] = []
    async with (
        httpx.AsyncClient(timeout=60) as client,
        client.stream(
            "POST", f"{server.url}/llm/chat", json=body, headers=account.headers
        ) as response,
        aclosing(response.aiter_lines()) as received,
    ):
        async for line in received:
            lines.append(line)
            if len(events := parse_events(lines)) > 3:
                break
    rows = await server.rows_soon(
        "SELECT content FROM llmchat_message WHERE id = ? AND state = 'cancelled'",
        UUID(events[0][1]["messageId"]).hex,
        count=1,
    )
    assert len(rows[0][0]) < 1500


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"42",
        b"[]",
        b'"text"',
        b"{}",
        b"\xff\xfe",
        b"[" * 5000,
        {**HELLO, "messages": []},
        {**HELLO, "messages": "Hello!"},
        {**HELLO, "messages": [{"role": "user", "content": 7}]},
        {**HELLO, "messages": [{"role": "assistant", "content": "Hi!"}]},
        {**HELLO, "provider": 7},
        {**HELLO, "stream": "yes"},
        {**HELLO, "temperature": "hot"},
    ],
    ids=repr,
)
def test_bad_body_is_a_400_in_json(
    server: LiveServer, rest_token: str, body: Any
) -> None:
    response = post(server, rest_token, body)
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/json"
    assert set(response.json()) == {"error", "code"}


@pytest.fixture(scope="module")
def rest_token(server: LiveServer) -> str:
    """The token of one user, for all of the bad bodies."""
    return server.account().access


def test_token_is_judged_before_the_body(server: LiveServer) -> None:
    missing = post(server, "", b"{")
    invalid = post(server, "not.a.token", b"{")
    assert (missing.status_code, missing.json()) == (
        401,
        {"error": "Authentication token missing", "code": "token_missing"},
    )
    assert (invalid.status_code, invalid.json()) == (
        401,
        {"error": "Authentication token invalid", "code": "token_invalid"},
    )


def test_refusals_have_the_statuses_of_the_contract(server: LiveServer) -> None:
    token = server.account().access
    unknown = [
        post(server, token, {**HELLO, "provider": name})
        for name in ("nobody", "x" * 500, "a\0b", "")
    ]
    keyless = post(server, token, {**HELLO, "provider": "openai"})
    foreign = post(
        server,
        token,
        {**HELLO, "conversationId": "00000000-0000-4000-8000-000000000000"},
    )
    assert {(answer.status_code, answer.json()["error"]) for answer in unknown} == {
        (404, "Provider not found")
    }
    assert (keyless.status_code, keyless.json()["error"]) == (
        503,
        "OpenAI API key not configured",
    )
    assert foreign.status_code == 404


def test_wrong_method_is_a_405(server: LiveServer) -> None:
    response = httpx.get(
        f"{server.url}/llm/chat", headers=server.account().headers, timeout=60
    )
    assert (response.status_code, response.json()["code"]) == (
        405,
        "method_not_allowed",
    )


def test_providers_say_whether_a_key_is_there(server: LiveServer) -> None:
    response = httpx.get(
        f"{server.url}/llm/providers", headers=server.account().headers, timeout=60
    )
    providers = {row["name"]: row for row in response.json()["providers"]}
    assert {*providers} == {"openai", "claude", "gemini", "deepseek", "local"}
    assert providers["local"]["configured"] is True
    assert providers["openai"]["configured"] is False
    assert providers["openai"]["label"] == "OpenAI"
    assert providers["openai"]["model"]


def test_password_is_traded_for_a_token_that_works(server: LiveServer) -> None:
    account = server.account()
    credentials = {"username": account.username, "password": account.password}
    tokens = httpx.post(f"{server.url}/auth/token", json=credentials, timeout=60).json()
    assert post(server, tokens["access"]).status_code == 200


async def test_a_program_chats_with_a_key_over_rest_and_sockets(
    server: LiveServer,
) -> None:
    account = server.account()
    wanted = {"name": "a program", "scopes": ["chat"]}
    made = post(server, account.access, wanted, "/auth/keys").json()

    assert post(server, made["key"]).json()["fullResponse"]
    async with connected_client(server.url, made["key"]) as client:
        events = await client.ask("s-1", "Hi!", maxTokens=5)
        assert events[-1][0] == "llm:stream:done"
    refused = post(server, made["key"], wanted, "/auth/keys")
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")

    async with httpx.AsyncClient(headers=account.headers) as page:
        revoked = await page.delete(f"{server.url}/auth/keys/{made['id']}")
    assert revoked.status_code == 204
    assert post(server, made["key"]).json()["code"] == "token_invalid"
    async with stock_client(server.url, made["key"]) as client:
        error = await client.on("connect_error")
    assert error["data"] == {"code": "token_invalid"}
    assert made["key"] not in server.log_text()
