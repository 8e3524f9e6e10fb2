"""An emulator of the providers for a live server, and three ways to ask that server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import (
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.emulator.api import PREFIX
from tests.emulator.application import answer
from tests.emulator.request import Request
from tests.emulator.server import Answer, Emulator
from tests.support.live import Account, LiveServer
from tests.support.provider_outcomes import Case
from tests.support.stock_client import ENDS, connected_client

KEY = "sk-canary-0123456789-SECRET"
_AT_ONCE = 40
_LIMIT_S = 60.0


@dataclass(slots=True)
class Outcome:
    """The outcome of one turn: how it ended, and all that the client received.

    `names` are the names of the events in order, `end` is the payload of the last one
    (over REST, the body of the response), `status` is the HTTP status.
    """

    names: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    end: dict[str, Any] = field(default_factory=dict)
    status: int = 200

    @property
    def text(self) -> str:
        return "".join(self.tokens)

    def add(self, name: str, data: dict[str, Any]) -> bool:
        """Note an event; return whether it was the last."""
        self.names.append(name)
        if name == "llm:stream:token":
            self.tokens.append(data["token"])
        elif name in ENDS:
            self.end = data
        return name in ENDS


class ThreadedEmulator(Emulator):
    """An emulator on an event loop of its own, which outlives a test's."""

    def __init__(self, answer: Answer, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(answer)
        self._loop = loop

    async def until_ended(self, request: Request) -> float:
        """Wait until the emulator is done with a request; return when it was."""
        await self._wait(lambda: request.ended)
        return request.ended_at

    async def until_asked(self, question: str, model: str | None = None) -> Request:
        """Wait until a question has arrived (for `model`); return its request."""

        def asked() -> list[Request]:
            requests = requests_of(self, question)
            return [r for r in requests if model in (None, r.body.get("model"))]

        await self._wait(lambda: bool(asked()))
        return asked()[-1]

    def release(self, event: asyncio.Event) -> None:
        """Set an event that answers wait for."""
        self._loop.call_soon_threadsafe(event.set)

    async def _wait(self, condition: Callable[[], bool]) -> None:
        waiting = self.until(condition, _LIMIT_S)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(waiting, self._loop))


@contextmanager
def emulated(answer: Answer = answer) -> Iterator[ThreadedEmulator]:
    """Run an emulator for as long as a module's tests need it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = ThreadedEmulator(answer, loop)
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)
        yield server
    finally:
        end = server.__aexit__(None, None, None)
        asyncio.run_coroutine_threadsafe(end, loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def environment(server: Emulator, **more: str) -> dict[str, str]:
    """Return settings that point a server at the emulator, without limits on users."""
    return {
        "OPENAI_BASE_URL": f"{server.url}/v1",
        "DEEPSEEK_BASE_URL": server.url,
        "ANTHROPIC_BASE_URL": server.url,
        "GEMINI_BASE_URL": server.url,
        "OPENAI_API_KEY": KEY,
        "DEEPSEEK_API_KEY": KEY,
        "ANTHROPIC_API_KEY": KEY,
        "GEMINI_API_KEY": KEY,
        "LLMCHAT_MESSAGES_PER_MINUTE": "0",
        "LLMCHAT_MAX_STREAMS_PER_USER": "1000",
        **more,
    }


def requests_of(server: Emulator, question: str) -> list[Request]:
    """Return the requests that carried a question, which must be unique."""
    mark = json.dumps(question).encode()
    return [request for request in list(server.requests) if mark in request.raw_body]


def question(transport: str, case: Case) -> str:
    """Return a question that distinguishes a turn's requests from all others."""
    return f"{transport} {' '.join(case)}"


def body(transport: str, case: Case) -> dict[str, Any]:
    """Return the body of a turn that plays a case."""
    api, scenario = case
    text = question(transport, case)
    return {
        "provider": api,
        "model": PREFIX + scenario,
        "messages": [{"role": "user", "content": text}],
    }


async def over_socketio(
    server: LiveServer, account: Account, cases: Sequence[Case]
) -> dict[Case, Outcome]:
    """Play cases over the stock client, one socket for each API."""
    by_api: dict[str, list[Case]] = {}
    for case in cases:
        by_api.setdefault(case[0], []).append(case)
    played = await asyncio.gather(
        *(_over_one_socket(server, account, some) for some in by_api.values())
    )
    return {case: outcome for part in played for case, outcome in part.items()}


async def _over_one_socket(
    server: LiveServer, account: Account, cases: Sequence[Case]
) -> dict[Case, Outcome]:
    outcomes = {case: Outcome() for case in cases}
    by_session = {" ".join(case): outcome for case, outcome in outcomes.items()}
    options = {"transports": ("websocket",)}
    async with connected_client(server.url, account.access, **options) as client:
        for batch in _batches(cases):
            for case in batch:
                fields = {"sessionId": " ".join(case), **body("socketio", case)}
                await client.emit("llm:chat:stream", fields)
            running = len(batch)
            while running:
                report = await client.next()
                assert report["on"] == "event", report
                data = report["args"][0]
                running -= by_session[data["sessionId"]].add(report["name"], data)
        late = await client.quiet(for_s=0.1)
    assert not [report for report in late if report["on"] == "event"]
    return outcomes


def _batches(cases: Sequence[Case]) -> Iterable[Sequence[Case]]:
    size = _AT_ONCE // 2
    return (cases[start : start + size] for start in range(0, len(cases), size))


async def over_rest(
    server: LiveServer, account: Account, cases: Sequence[Case]
) -> dict[Case, Outcome]:
    """Play cases over REST, each answered in one piece."""

    async def play(client: httpx.AsyncClient, case: Case) -> Outcome:
        response = await client.post("/llm/chat", json=body("rest", case))
        outcome = Outcome(end=response.json(), status=response.status_code)
        if "fullResponse" in outcome.end:
            outcome.tokens.append(outcome.end["fullResponse"])
        return outcome

    return await _over_http(server, account, cases, play)


async def over_sse(
    server: LiveServer, account: Account, cases: Sequence[Case]
) -> dict[Case, Outcome]:
    """Play cases over REST, answered as server-sent events."""

    async def play(client: httpx.AsyncClient, case: Case) -> Outcome:
        outcome = Outcome()
        fields = body("sse", case) | {"stream": True}
        async with client.stream("POST", "/llm/chat", json=fields) as response:
            outcome.status = response.status_code
            async for name, data in _server_sent(response):
                outcome.add(name, data)
        return outcome

    return await _over_http(server, account, cases, play)


async def _server_sent(
    response: httpx.Response,
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    # Not by lines: text-based splitting cuts at separators inside of the JSON.
    received = b"".join([chunk async for chunk in response.aiter_bytes()])
    for item in received.split(b"\n\n")[:-1]:
        name, data, *_ident = item.split(b"\n")
        yield name.removeprefix(b"event: ").decode(), json.loads(data[len("data: ") :])


async def _over_http(
    server: LiveServer, account: Account, cases: Sequence[Case], play: Any
) -> dict[Case, Outcome]:
    places = asyncio.Semaphore(_AT_ONCE)
    async with http_client(server, account) as client:

        async def one(case: Case) -> Outcome:
            async with places:
                outcome: Outcome = await play(client, case)
                return outcome

        outcomes = await asyncio.gather(*map(one, cases))
    return dict(zip(cases, outcomes, strict=True))


@asynccontextmanager
async def http_client(
    server: LiveServer, account: Account
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client that is logged in, for any number of parallel requests."""
    headers: Mapping[str, str] = account.headers
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=server.url, headers=headers, timeout=_LIMIT_S, limits=limits
    ) as client:
        yield client


TRANSPORTS = {"socketio": over_socketio, "rest": over_rest, "sse": over_sse}
