"""What the server refuses, and that it continues to serve afterwards."""

from __future__ import annotations

import time
from typing import Any

import httpx
import jwt
import pytest
from websockets.asyncio.client import connect

from tests.conftest import ONE_SERVER
from tests.support.live import LiveServer, environment
from tests.support.stock_client import connected_client, stock_client

pytestmark = ONE_SERVER

GOOD: dict[str, Any] = {
    "sessionId": "good",
    "provider": "local",
    "messages": [{"role": "user", "content": "Hi!"}],
    "maxTokens": 8,
}
HUGE = "x" * 300_000
BAD_PAYLOADS: dict[str, list[Any]] = {
    "no argument": [],
    "null": [None],
    "number": [42],
    "boolean": [True],
    "string": ["hello"],
    "list": [[GOOD]],
    "empty object": [{}],
    **{
        f"no {name}": [{key: value for key, value in GOOD.items() if key != name}]
        for name in ("sessionId", "provider", "messages")
    },
    **{
        f"{name} is {value!r}"[:40]: [{**GOOD, name: value}]
        for name, values in {
            "sessionId": [None, 7, "", "x" * 129, HUGE, ["a"], {}],
            "provider": [None, 7, ["local"], {}],
            "messages": [None, 7, "Hi!", {}, [], [None], ["Hi!"], [[]], [{}]],
            "temperature": ["hot", -1, 3, True],
            "maxTokens": ["many", 0, -5, 1.5, True],
            "model": [7, []],
            "conversationId": [7, "none of ours"],
        }.items()
        for value in values
    },
    **{
        f"message {message}"[:60]: [{**GOOD, "messages": [message]}]
        for message in (
            {"role": "user"},
            {"content": "Hi!"},
            {"role": "user", "content": ""},
            {"role": "user", "content": None},
            {"role": "user", "content": 7},
            {"role": "user", "content": [{"type": "text", "text": "Hi!"}]},
            {"role": "tool", "content": "Hi!"},
            {"role": HUGE, "content": "Hi!"},
            {"role": ["user"], "content": "Hi!"},
            {"role": "assistant", "content": "the last is not the user's"},
        )
    },
}
BAD_CANCELS: list[list[Any]] = [[], [None], [7], ["good"], [{}], [{"sessionId": 7}]]


async def test_no_token_is_a_connect_error(server: LiveServer) -> None:
    async with stock_client(server.url) as client:
        refused = await client.on("connect_error")
    assert refused["message"] == "Authentication token missing"
    assert refused["data"] == {"code": "token_missing"}


@pytest.mark.parametrize(
    ("claims", "message", "code"),
    [
        ({"exp": -1}, "Authentication token expired", "token_expired"),
        ({"token_type": "refresh"}, "Authentication token invalid", "token_invalid"),
        ({"user_id": "999999"}, "Authentication token invalid", "token_invalid"),
    ],
)
async def test_refused_tokens_are_connect_errors(
    server: LiveServer, claims: dict[str, Any], message: str, code: str
) -> None:
    account = server.account()
    good = jwt.decode(account.access, options={"verify_signature": False})
    secret = environment(server.database)["DJANGO_SECRET_KEY"]
    token = jwt.encode({**good, **claims}, secret, algorithm="HS256")
    async with stock_client(server.url, token) as client:
        refused = await client.on("connect_error")
    assert (refused["message"], refused["data"]) == (message, {"code": code})


async def test_token_in_the_query_string_is_not_taken(server: LiveServer) -> None:
    account = server.account()
    options = {"query": {"token": account.access}}
    async with stock_client(server.url, options=options) as client:
        refused = await client.on("connect_error")
    assert refused["data"] == {"code": "token_missing"}


async def test_token_in_the_authorization_header_is_taken(server: LiveServer) -> None:
    account = server.account()
    options = {"extraHeaders": account.headers}
    async with stock_client(server.url, options=options) as client:
        assert (await client.on("connect"))["id"]


@pytest.mark.parametrize("name", ["nobody", "x" * 500, "a\0b", ""])
async def test_unknown_provider_is_an_error(server: LiveServer, name: str) -> None:
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        events = await client.ask("one", "Hi!", provider=name)
    assert [name for name, _ in events] == ["llm:stream:error"]
    assert events[0][1]["error"] == "Provider not found"
    assert events[0][1]["code"] == "provider_not_found"


@pytest.mark.parametrize(
    ("provider", "label"),
    [
        ("openai", "OpenAI"),
        ("claude", "Claude"),
        ("gemini", "Gemini"),
        ("deepseek", "DeepSeek"),
    ],
)
async def test_provider_without_a_key_is_an_error(
    server: LiveServer, provider: str, label: str
) -> None:
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        events = await client.ask("one", "Hi!", provider=provider)
    assert [name for name, _ in events] == ["llm:stream:error"]
    assert events[0][1]["error"] == f"{label} API key not configured"
    assert events[0][1]["code"] == "key_not_configured"


async def test_sixty_first_message_in_a_minute_is_refused(server: LiveServer) -> None:
    # A minute may end between two messages; the minutes of two users end apart.
    for account in (server.account(), server.account()):
        async with connected_client(server.url, account.access) as client:
            errors = []
            for number in range(61):
                events = await client.ask(f"s{number}", "Hi!", provider="nobody")
                errors.append(events[0][1])
        async with httpx.AsyncClient() as http:
            rest = await http.post(
                f"{server.url}/llm/chat", json=GOOD, headers=account.headers
            )
        if errors[60]["code"] == "rate_limited":
            break
    assert {error["code"] for error in errors[:60]} == {"provider_not_found"}
    assert errors[60]["error"] == "Rate limit exceeded"
    assert errors[60]["sessionId"] == "s60"
    assert 1 <= errors[60]["retryAfter"] <= 60
    assert (rest.status_code, rest.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(rest.headers["Retry-After"]) <= 60


async def test_cancel_over_the_limit_is_obeyed(server: LiveServer) -> None:
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        await client.start("long", "Tell me a long story.", maxTokens=500)
        await client.event("llm:stream:start", "long")
        for number in range(62):
            await client.emit("nothing of ours", number)
        await client.emit("llm:stream:cancel", {"sessionId": "long"})
        assert await client.event("llm:stream:cancelled", "long")


async def test_each_bad_payload_is_one_error_and_the_socket_goes_on(
    server: LiveServer,
) -> None:
    for chunk in chunks(list(BAD_PAYLOADS.items()), 50):
        account = server.account()
        async with connected_client(server.url, account.access) as client:
            for label, args in chunk:
                await client.emit("llm:chat:stream", *args)
                error = await client.event("llm:stream:error")
                assert_bad_request(error, label)
                assert error["sessionId"] in readable_session_ids(args), label
            await client.emit("llm:chat:stream", GOOD)
            events = await client.stream("good")
            late = await client.quiet(for_s=0.3)
        assert events[-1][0] == "llm:stream:done"
        assert not [report for report in late if report["on"] == "event"]


async def test_bad_cancels_are_errors_and_the_socket_goes_on(
    server: LiveServer,
) -> None:
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        for args in BAD_CANCELS:
            await client.emit("llm:stream:cancel", *args)
            assert_bad_request(await client.event("llm:stream:error"), repr(args))
        await client.emit("llm:stream:cancel", {"sessionId": "none"})
        unknown = await client.event("llm:stream:error", "none")
        events = await client.ask("good", "Hi!", maxTokens=8)
    assert unknown["code"] == "stream_not_found"
    assert events[-1][0] == "llm:stream:done"


async def test_prompt_beyond_the_context_is_one_error(server: LiveServer) -> None:
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        events = await client.ask("one", "word " * 60_000)
        again = await client.ask("good", "Hi!", maxTokens=8)
    assert events[-1][0] == "llm:stream:error"
    assert events[-1][1]["code"] == "context_too_long"
    assert "llm:stream:token" not in [name for name, _ in events]
    assert again[-1][0] == "llm:stream:done"


async def test_text_that_is_no_utf8_closes_the_websocket_alone(
    server: LiveServer,
) -> None:
    url = f"ws://127.0.0.1:{server.port}/socket.io/?EIO=4&transport=websocket"
    async with connect(url) as websocket:
        await websocket.recv()
        async with websocket.send_context():
            websocket.protocol.send_text(b"4\xff\xfe")
        await websocket.wait_closed()
    async with connected_client(server.url, server.account().access):
        pass  # and the server's log has no traceback, as its fixture checks


def assert_bad_request(error: dict[str, Any], label: str) -> None:
    """Check an error against the contract's shape."""
    assert error["code"] == "bad_request", label
    assert isinstance(error["error"], str), label
    assert 0 < len(error["error"]) < 300, label
    assert "Traceback" not in error["error"], label
    assert abs(error["timestamp"] - time.time() * 1000) < 60_000, label


def readable_session_ids(args: list[Any]) -> list[str | None]:
    """Return the ids that an error may name; one that is too long may be left out."""
    payload = args[0] if args else None
    session_id = payload.get("sessionId") if isinstance(payload, dict) else None
    if not isinstance(session_id, str):
        return [None]
    return [session_id] if 1 <= len(session_id) <= 128 else [session_id, None]


def chunks(items: list[Any], size: int) -> list[list[Any]]:
    """Split a list, since a user has only 60 messages a minute."""
    return [items[start : start + size] for start in range(0, len(items), size)]
