"""The namespace on a real server, with the stock client and a provider that waits."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sqlite3
import time
from collections.abc import Callable

import httpx
import jwt
import pytest

from tests.support import live
from tests.support.buffers import full_buffers
from tests.support.limits import time_in_the_minute
from tests.support.stock_client import StockClient, connected_client

PING_INTERVAL_S = 1.0
SLACK_S = 15.0  # the machine may stall


@pytest.fixture(scope="module")
def start(
    start_server: Callable[..., live.LiveServer], upstream_env: dict[str, str]
) -> Callable[..., live.LiveServer]:
    """Return a server whose `openai` is the upstream, started once per environment."""

    @functools.cache
    def start(**env: str) -> live.LiveServer:
        known = {
            **upstream_env,
            "LLMCHAT_PING_INTERVAL_MS": str(int(PING_INTERVAL_S * 1000)),
        }
        return start_server("uvicorn", known | env)

    return start


async def ask(client: StockClient, session_id: str = "s-1", text: str = "Hi") -> None:
    await client.start(session_id, text, provider="openai")


LIFE_S = 7  # clients need part of it to start and connect


def short_token(account: live.Account, life_s: int = LIFE_S) -> tuple[str, float]:
    """Return an access token that expires in about `life_s`, and when it does."""
    secret = live.environment(live.ROOT)["DJANGO_SECRET_KEY"]
    claims = jwt.decode(account.access, options={"verify_signature": False})
    ends_at = int(time.time()) + life_s
    return jwt.encode(claims | {"exp": ends_at}, secret, "HS256"), ends_at


def deactivate(server: live.LiveServer, account: live.Account) -> None:
    server.change(
        "UPDATE accounts_user SET is_active = FALSE WHERE id = ?", account.user_id
    )


async def test_a_cancel_from_another_socket_is_told_to_both(start, live_upstream):
    server = start()
    live_upstream.steps = ("Hel", asyncio.Event())
    account = server.account()
    async with (
        connected_client(server.url, account.access) as first,
        connected_client(server.url, account.access) as second,
    ):
        await ask(first)
        token = await first.event("llm:stream:token", "s-1")
        (answer,) = await second.call("llm:stream:cancel", {"sessionId": "s-1"})
        told = [
            await client.event("llm:stream:cancelled", "s-1")
            for client in (first, second)
        ]
        async with asyncio.timeout(20):
            await live_upstream.hung_up.wait()
        rest = await first.quiet(for_s=0.2) + await second.quiet(for_s=0.2)

    assert token["token"] == "Hel"
    assert answer["ok"] is True
    assert {event["messageId"] for event in told} == {answer["messageId"]}
    assert [event["partialResponse"] for event in told] == ["Hel", "Hel"]
    assert [report for report in rest if report["on"] == "event"][1:] == []


async def test_another_user_cannot_cancel_and_learns_nothing(start, live_upstream):
    server = start()
    live_upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with (
        connected_client(server.url, server.account().access) as owner,
        connected_client(server.url, server.account().access) as other,
    ):
        await ask(owner)
        await owner.event("llm:stream:token", "s-1")
        (answer,) = await other.call("llm:stream:cancel", {"sessionId": "s-1"})
        go.set()
        done = await owner.event("llm:stream:done", "s-1")

    assert answer["code"] == "stream_not_found"
    assert done["fullResponse"] == "Hello"


async def test_tokens_end_under_their_sockets(start, live_upstream):
    """Three at the same time: one asks again, one streams, and one is silent."""
    live_upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    watched, silent_is_closed = start(), asyncio.Event()
    await asyncio.gather(
        the_next_turn_is_refused(start(LLMCHAT_PING_INTERVAL_MS="60000")),
        a_running_stream_goes_on(watched, silent_is_closed, go),
        a_silent_socket_is_closed(watched, silent_is_closed),
    )
    assert len(live_upstream.requests) == 1


async def the_next_turn_is_refused(server: live.LiveServer) -> None:
    token, ends_at = short_token(server.account())
    async with connected_client(server.url, token) as client:
        await asyncio.sleep(ends_at - time.time())  # until the token really expires
        await ask(client)
        error = await client.event("llm:stream:error", "s-1")
        closed = await client.on("disconnect")
    assert (error["code"], error["error"]) == (
        "token_expired",
        "Authentication token expired",
    )
    assert closed["reason"] == "transport close"


async def a_running_stream_goes_on(
    server: live.LiveServer, silent_is_closed: asyncio.Event, go: asyncio.Event
) -> None:
    token, ends_at = short_token(server.account())
    async with connected_client(server.url, token) as client:
        await ask(client)
        await client.event("llm:stream:token", "s-1")
        await silent_is_closed.wait()  # so the watch has checked the tokens
        assert time.time() >= ends_at
        go.set()
        done = await client.event("llm:stream:done", "s-1")
        closed = await client.on("disconnect")
    assert done["fullResponse"] == "Hello"
    assert closed["reason"] == "transport close"


async def a_silent_socket_is_closed(
    server: live.LiveServer, is_closed: asyncio.Event
) -> None:
    # Its token expires last, after that of the socket that streams.
    token, ends_at = short_token(server.account(), LIFE_S + 1)
    async with connected_client(server.url, token) as client:
        async with asyncio.timeout(ends_at - time.time() + PING_INTERVAL_S + SLACK_S):
            await client.on("disconnect")
        is_closed.set()
        refused = await client.on("connect_error")
    assert refused["message"] == "Authentication token expired"
    assert refused["data"] == {"code": "token_expired"}


async def test_a_deactivated_user_is_sent_away_within_a_ping_interval(
    start, live_upstream
):
    server = start()
    account, other = server.account(), server.account()
    async with (
        connected_client(server.url, account.access) as client,
        connected_client(server.url, other.access) as bystander,
    ):
        deactivate(server, account)
        async with asyncio.timeout(PING_INTERVAL_S + SLACK_S):
            await client.on("disconnect")
        refused = await client.on("connect_error")
        await ask(bystander)
        events = await bystander.stream("s-1")
    assert events[-1][0] == "llm:stream:done"
    assert refused["data"] == {"code": "token_invalid"}


async def test_a_new_password_sends_sockets_away_and_lets_the_new_token_in(
    start, live_upstream
):
    server = start()
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        async with httpx.AsyncClient(headers=account.headers, timeout=20) as http:
            body = {"current": account.password, "new": "another long password"}
            answer = await http.post(f"{server.url}/auth/password", json=body)
        async with asyncio.timeout(PING_INTERVAL_S + SLACK_S):
            await client.on("disconnect")
        refused = await client.on("connect_error")
        async with connected_client(server.url, answer.json()["access"]) as back:
            await ask(back)
            events = await back.stream("s-1")
    assert refused["data"] == {"code": "token_invalid"}
    assert events[-1][0] == "llm:stream:done"


async def test_who_deletes_the_account_is_cut_off(start, live_upstream):
    server = start()
    live_upstream.steps = ("Hel", asyncio.Event())
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        await ask(client)
        await client.event("llm:stream:token", "s-1")
        async with httpx.AsyncClient(headers=account.headers, timeout=20) as http:
            left = await http.request(
                "DELETE", f"{server.url}/auth/me", json={"password": account.password}
            )
        assert left.status_code == 204
        async with asyncio.timeout(20):
            await live_upstream.hung_up.wait()
        async with asyncio.timeout(PING_INTERVAL_S + SLACK_S):
            await client.on("disconnect")
        refused = await client.on("connect_error")
    assert refused["data"] == {"code": "token_invalid"}
    query = "SELECT count(*) FROM llmchat_message WHERE user_id = ?"
    assert server.rows(query, account.user_id) == [(0,)]


async def test_a_deactivated_user_starts_no_new_turn(start, live_upstream):
    server = start(LLMCHAT_PING_INTERVAL_MS="60000")
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        deactivate(server, account)
        await ask(client)
        error = await client.event("llm:stream:error", "s-1")
        await client.on("disconnect")
    assert error["code"] == "token_invalid"
    assert not live_upstream.requests


async def test_a_stream_goes_on_over_a_lost_connection(start, live_upstream):
    server = start()
    live_upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    async with connected_client(server.url, server.account().access) as client:
        await ask(client)
        await client.event("llm:stream:token", "s-1")
        await client.drop()
        await client.on("disconnect")
        go.set()
        await client.on("connect")
        token = await client.event("llm:stream:token", "s-1")
        done = await client.event("llm:stream:done", "s-1")
    assert (token["token"], done["fullResponse"]) == ("lo", "Hello")


async def test_a_client_that_stays_away_has_its_stream_cancelled(start, live_upstream):
    server = start(LLMCHAT_RECOVERY_WINDOW_S="1")
    live_upstream.steps = ("Hel", asyncio.Event())
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        await ask(client)
        await client.event("llm:stream:token", "s-1")
    async with asyncio.timeout(20):
        await live_upstream.hung_up.wait()
    query = "SELECT content FROM llmchat_message WHERE state = 'cancelled'"
    assert await server.rows_soon(query, count=1) == [("Hel",)]


async def test_messages_are_counted_over_sockets_and_rest(start, live_upstream):
    server = start(LLMCHAT_MESSAGES_PER_MINUTE="3")
    live_upstream.steps = ("Hel", asyncio.Event())
    account = server.account()
    await time_in_the_minute(account.user_id)
    async with (
        connected_client(server.url, account.access) as first,
        connected_client(server.url, account.access) as second,
        httpx.AsyncClient(base_url=server.url, headers=account.headers) as rest,
    ):
        await ask(first)
        await first.event("llm:stream:token", "s-1")
        await second.emit("no:such:event")
        await second.emit("another", 1, 2)
        await ask(second, "s-2")
        error = await second.event("llm:stream:error", "s-2")
        refused = await rest.post("/llm/chat", json={})
        (answer,) = await second.call("llm:stream:cancel", {"sessionId": "s-1"})

    assert (error["code"], error["error"]) == ("rate_limited", "Rate limit exceeded")
    assert 1 <= error["retryAfter"] <= 60
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert answer["ok"] is True


async def test_a_slow_client_gets_neighbouring_tokens_merged(start, live_upstream):
    server = start(LLMCHAT_PING_TIMEOUT_MS="60000")
    go = asyncio.Event()
    pieces = [f"{number:06d} " for number in range(60_000)]
    live_upstream.steps = ("first ", go, *pieces)
    async with connected_client(
        server.url, server.account().access, transports=("websocket",)
    ) as client:
        await ask(client)
        await client.event("llm:stream:token", "s-1")
        client._process.send_signal(signal.SIGSTOP)
        go.set()
        await full_buffers(server.port)
        client._process.send_signal(signal.SIGCONT)
        events = await client.stream("s-1")

    texts = [payload["token"] for name, payload in events if name.endswith("token")]
    assert events[-1][0] == "llm:stream:done"
    assert "first " + "".join(texts) == events[-1][1]["fullResponse"]
    assert events[-1][1]["fullResponse"] == "first " + "".join(pieces)
    assert len(texts) < len(pieces)


async def test_what_a_killed_server_streamed_is_interrupted_at_the_next_start(
    start, live_upstream, start_server
):
    server = start(LLMCHAT_MAX_STREAMS_PER_USER="50")
    server.needs_one_process("tests/product/test_durability.py kills one of several")
    live_upstream.steps = ("Hel", asyncio.Event())
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        for number in range(50):
            await ask(client, f"s-{number}", f"Hi {number}")
            await client.event("llm:stream:token", f"s-{number}")
        query = "SELECT 1 FROM llmchat_piece WHERE text = 'Hel'"
        await server.rows_soon(query, count=50)  # a checkpoint has passed
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()

    # The copy of the database needs what is still in the write-ahead log, too.
    sqlite3.connect(server.database).execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
    again = live.start_server(
        "uvicorn",
        live.Seed(server.database, (account,)),
        server.database.parent / "again",
    )
    try:
        query = "SELECT state, content, count(*) FROM llmchat_message "
        where = "WHERE role = 'assistant' GROUP BY 1, 2"
        assert again.rows(query + where) == [("interrupted", "Hel", 50)]
    finally:
        again.stop()


async def test_a_deactivated_user_takes_no_socket_up_again(start, live_upstream):
    server = start(LLMCHAT_PING_INTERVAL_MS="60000")
    account = server.account()
    async with connected_client(server.url, account.access) as client:
        deactivate(server, account)
        await client.drop()
        refused = await client.on("connect_error")
    assert refused["data"] == {"code": "token_invalid"}
