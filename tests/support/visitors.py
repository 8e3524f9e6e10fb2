"""Users who do everything at the same time, and record how their answers ended."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import socketio

from tests.emulator.api import Story
from tests.emulator.application import answer
from tests.emulator.openai_api import OpenAIApi
from tests.emulator.request import Request
from tests.emulator.response import Hold, Response
from tests.support.live import Account, LiveServer
from tests.support.provider_lab import ThreadedEmulator
from tests.support.stock_client import StockClient, connected_client

OK, AWAY = "ok", "database_unavailable"
TOKEN, DONE, ERROR, CANCELLED = (
    f"llm:stream:{name}" for name in ("token", "done", "error", "cancelled")
)
CANCEL = "llm:stream:cancel"
ENDLESS, SHORT, HELD = "scenario-endless", "scenario-short", "held-"
Told = tuple[str, dict[str, Any]]

_go: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


def answer_or_hold(request: Request, number: int) -> Response:
    """Answer as usual; the answer of a model `held-…` ends when its test says so."""
    model = str(request.body.get("model"))
    if not model.startswith(HELD):
        return answer(request, number)
    head, text, *rest = OpenAIApi().events(Story((f"{model} ", "ends.")))
    return Response([head, text, Hold(_go[model]), *rest])


def go_on(upstream: ThreadedEmulator, model: str) -> None:
    """Let the answer of a model `held-…` end."""
    upstream.release(_go[model])


@dataclass(frozen=True, slots=True)
class Cell:
    """The answer to one request, and the seconds that it took."""

    outcome: str
    seconds: float


async def timed(asking: Awaitable[object]) -> Cell:
    """Ask, and measure the time."""
    began = time.monotonic()
    outcome = str(await asking)
    return Cell(outcome, round(time.monotonic() - began, 2))


class Visitor:
    """A user with an open socket, and two answers on it: `running` and `held`.

    `told` has each end that the user received, `text` is what a new turn asks. The
    `newcomer` is a user whom the server has not seen yet and does not remember.
    """

    def __init__(
        self,
        server: LiveServer,
        account: Account,
        newcomer: Account,
        client: StockClient,
    ) -> None:
        self.server, self.client = server, client
        self.account, self.newcomer = account, newcomer
        self.http = httpx.AsyncClient(base_url=server.url, timeout=60)
        self.text = "Hi"
        self.told: list[Told] = []
        self._question = f"For {self.account.username}: {secrets.token_hex(8)}"
        self._held = HELD + secrets.token_hex(8)
        self._begun: list[str] = []

    async def settle(self) -> None:
        """Start both answers."""
        for name, model in (("running", ENDLESS), ("held", self._held)):
            assert await self.start(name, model, self._question) == OK
            await self.client.event(TOKEN, name)

    async def measure(self, *names: str) -> dict[str, Cell]:
        """Do several things at the same time; they are named as in the table."""
        asked = {name: getattr(self, name.replace(" ", "_"))() for name in names}
        cells = await asyncio.gather(*(timed(asking) for asking in asked.values()))
        return dict(zip(asked, cells, strict=True))

    # Requests.

    async def new_socket(self) -> str:
        """Connect as a new client."""
        client = socketio.AsyncClient(reconnection=False)
        refused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        client.on("connect_error", lambda data=None: refused.set_result(data))
        try:
            await client.connect(
                self.server.url,
                auth={"token": self.newcomer.access},
                transports=["websocket"],
                wait_timeout=60,
            )
        except socketio.exceptions.ConnectionError:
            return str((await refused)["data"]["code"])
        finally:
            await client.disconnect()
            if client.eio.http is not None:
                await client.eio.http.close()
        return OK

    async def turn(self) -> str:
        """Start a short answer on the open socket."""
        session_id = f"turn-{secrets.token_hex(8)}"
        outcome = await self.start(session_id, SHORT, self.text)
        if outcome == OK:
            self._begun.append(session_id)
        return outcome

    async def start(self, session_id: str, model: str, text: str) -> str:
        """Start an answer under this name."""
        messages = [{"role": "user", "content": text}]
        payload = {"sessionId": session_id, "messages": messages, "model": model}
        asked = self.client.call("llm:chat:stream", payload | {"provider": "openai"})
        [response] = await asked
        return OK if response["ok"] else str(response["code"])

    async def rest(self) -> str:
        """Ask for the list of providers."""
        headers = self.newcomer.headers
        return _outcome(await self.http.get("/llm/providers", headers=headers))

    async def rest_turn(self) -> str:
        """Ask for a whole answer."""
        messages = [{"role": "user", "content": self.text}]
        body = {"provider": "openai", "model": SHORT, "messages": messages}
        headers = self.account.headers
        response = await self.http.post("/llm/chat", json=body, headers=headers)
        self._note(DONE if response.status_code == 200 else ERROR, response.json())
        return _outcome(response)

    async def log_in(self, password: str | None = None) -> str:
        """Ask for tokens."""
        return _outcome(
            await self.http.post(
                "/auth/token",
                json={
                    "username": self.account.username,
                    "password": password or self.account.password,
                },
            )
        )

    async def admin(self) -> str:
        """Log in to the admin, without an earlier session."""
        self.http.cookies.clear()
        page = await self.http.get("/admin/login/")
        token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token, page.text
        form = {
            "username": self.account.username,
            "password": self.account.password,
            "csrfmiddlewaretoken": token[1],
        }
        response = await self.http.post("/admin/login/", data=form)
        if response.status_code == 503:
            assert response.headers["Retry-After"]
            return AWAY
        return OK if response.status_code in (200, 302) else str(response.status_code)

    async def until_well(self, limit_s: float) -> float:
        """Start turns until one is accepted; return how long that took."""
        began = time.monotonic()
        async with asyncio.timeout(limit_s):
            while True:
                if await self.turn() == OK:
                    return time.monotonic() - began
                await asyncio.sleep(0.1)

    # What becomes of answers.

    async def goes_on(self) -> None:
        """Wait for text of `running` that was sent after this moment."""
        # Everything that arrives after this ack is new.
        await self.client.call(CANCEL, {"sessionId": "nothing"})
        self.client.forget(TOKEN)
        await self.client.event(TOKEN, "running")

    async def cancel(self) -> str:
        """Cancel `running`."""
        [response] = await self.client.call(CANCEL, {"sessionId": "running"})
        return OK if response["ok"] else str(response["code"])

    async def end_both(self, upstream: ThreadedEmulator) -> dict[str, Cell]:
        """Cancel `running` and let `held` end at the same time."""
        request = await upstream.until_asked(self._question, ENDLESS)
        hanging_up = asyncio.create_task(timed(upstream.until_ended(request)))
        go_on(upstream, self._held)
        began = time.monotonic()
        cancelled = await timed(self.cancel())
        assert await self.end_of("running") == CANCELLED
        end = Cell(await self.end_of("held"), _since(began))
        hung_up = Cell(OK, (await hanging_up).seconds)
        return {"hang up": hung_up, "cancel": cancelled, "end": end}

    async def end_of(self, session_id: str) -> str:
        """Wait for the end of an answer; return its name."""
        name, data = (await self.client.stream(session_id))[-1]
        self._note(name, data)
        return name

    async def end_turns(self) -> None:
        """Wait for the ends of all turns that have begun."""
        while self._begun:
            await self.end_of(self._begun.pop())

    def _note(self, name: str, data: dict[str, Any]) -> None:
        if "messageId" in data:
            self.told.append((name, data))


def _since(began: float) -> float:
    return round(time.monotonic() - began, 2)


def _outcome(response: httpx.Response) -> str:
    if response.status_code in (200, 201):
        return OK
    if response.status_code == 503:
        assert int(response.headers["Retry-After"]) >= 1
    return str(response.json()["code"])


@asynccontextmanager
async def visitor(
    server: LiveServer, take: Callable[[], Account]
) -> AsyncIterator[Visitor]:
    """Yield a user whose answers have begun; `take` returns new accounts."""
    account = take()
    async with connected_client(server.url, account.access) as client:
        someone = Visitor(server, account, take(), client)
        async with someone.http:
            await someone.settle()
            yield someone
