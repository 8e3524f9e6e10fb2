"""A client that asks for server-sent events and then reads none of them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import httpx
import pytest

from tests.conftest import StartServer
from tests.emulator.application import answer
from tests.emulator.request import Request
from tests.emulator.response import Repeat, Response
from tests.support.live import Account, LiveServer
from tests.support.provider_lab import (
    ThreadedEmulator,
    emulated,
    environment,
    requests_of,
)

STREAMS = 4
IDLE_S = 2.0
LIMIT_S = 15.0
ENDLESS = "scenario-endless"


def fast(request: Request, number: int) -> Response:
    """Return the emulator's endless answer, faster than any client reads."""
    played = answer(request, number)
    steps = [
        Repeat(step.data * 200, 0.005) if isinstance(step, Repeat) else step
        for step in played.steps
    ]
    return replace(played, steps=steps)


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedEmulator]:
    with emulated(fast) as server:
        yield server


@pytest.fixture(scope="module", params=["uvicorn", "daphne"])
def product(
    request: pytest.FixtureRequest,
    start_server: StartServer,
    upstream: ThreadedEmulator,
) -> Iterator[LiveServer]:
    limits = {
        "LLMCHAT_MAX_STREAMS_PER_USER": str(STREAMS),
        "LLMCHAT_FIRST_TOKEN_TIMEOUT_S": "5",
        "LLMCHAT_IDLE_TIMEOUT_S": str(IDLE_S),
        "LLMCHAT_TOTAL_TIMEOUT_S": "600",
    }
    server = start_server(request.param, environment(upstream, **limits))
    yield server
    assert "Traceback" not in server.log_text(), server.log


async def test_a_client_that_does_not_read_is_cut_off(
    product: LiveServer, upstream: ThreadedEmulator
) -> None:
    account = product.account()
    questions = [f"{product.kind} is read by nobody {n}" for n in range(STREAMS)]
    with ExitStack() as stack:
        for name in questions:
            client = stack.enter_context(silent(product))
            client.sendall(request_of(account, name))
        async with asyncio.timeout(LIMIT_S):
            for name in questions:
                await upstream.until_ended(await upstream.until_asked(name))
        rows = await product.rows_soon(
            "SELECT length(content) FROM llmchat_message"
            " WHERE user_id = ? AND state = 'cancelled'",
            account.user_id,
            count=STREAMS,
        )
        for name in questions:
            (request,) = requests_of(upstream, name)
            assert request.hung_up
        assert all(length > 0 for (length,) in rows)
        # The user's places for streams are free again while the sockets are still open.
        assert await short_answer(product, account) == "llm:stream:done"
    assert product.log_text().count("a client that did not read") == STREAMS


def silent(server: LiveServer) -> socket.socket:
    """Connect with a very small receive buffer."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.connect(("127.0.0.1", server.port))
    return client


def request_of(account: Account, question: str) -> bytes:
    """Return a request for server-sent events as bytes."""
    body = json.dumps(
        {
            "provider": "openai",
            "model": ENDLESS,
            "messages": [{"role": "user", "content": question}],
            "stream": True,
        }
    ).encode()
    head = (
        "POST /llm/chat HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {account.access}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def short_answer(server: LiveServer, account: Account) -> str:
    """Read an answer, and return the name of its last event."""
    turn = {
        "provider": "openai",
        "messages": [{"role": "user", "content": "Hi!"}],
        "stream": True,
    }
    async with httpx.AsyncClient(headers=account.headers, timeout=LIMIT_S) as client:
        response = await client.post(f"{server.url}/llm/chat", json=turn)
    last = response.text.split("\n\n")[-2]
    return last.split("\n")[0].removeprefix("event: ")
