"""The sessions of this process, and who may open one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from .clients import Application, Client, Handshake
from .engineio.errors import Refusal, RequestError
from .engineio.events import CloseReason
from .engineio.handshake import (
    Action,
    Options,
    check_request,
    check_version,
    make_sid,
)
from .engineio.session import Session


@dataclass(frozen=True, slots=True)
class Request:
    """One request or WebSocket handshake, reduced to what the checks need."""

    method: str
    websocket: bool
    handshake: Handshake

    @property
    def sid(self) -> str:
        """The session it names, "" where it names none."""
        return self.handshake.query.get("sid", "")


AllowRequest = Callable[[Request], Awaitable[str | None]]
JudgeRequest = Callable[[Request], str | None]


class Server:
    """All sessions of this process, and what is offered to new ones."""

    def __init__(
        self,
        application: Application,
        options: Options | None = None,
        *,
        allow_request: AllowRequest | None = None,
        judge_request: JudgeRequest | None = None,
    ) -> None:
        """`application` makes the handler of each client. `allow_request` judges a
        request that would open a session: None lets it in, a text refuses it.
        `judge_request` does the same with every request, and may not wait."""
        self._application = application
        self.options = options or Options()
        self._allow_request = allow_request
        self._judge_request = judge_request
        self._clients: dict[str, Client] = {}
        self._stopping = False

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._clients.values()))

    def find(self, request: Request) -> tuple[Action, Client | None]:
        """What a request asks for, and the client that it names.

        Raises:
            RequestError: it is refused.
        """
        client = self._clients.get(request.sid)
        if client is not None:
            # A deadline counts when it has passed, not when its timer has run.
            client.tick()
            client = self._clients.get(request.sid)
        action = check_request(
            request.method,
            request.handshake.query,
            websocket=request.websocket,
            origin=request.handshake.headers.get("origin"),
            session_transport=client.session.transport if client else None,
            options=self.options,
        )
        if self._judge_request is not None:
            _let_pass(self._judge_request(request))
        return action, client

    async def open(self, request: Request) -> Client:
        """Opens a session for a request that asks for one.

        Raises:
            RequestError: the application or the version check refuses it.
        """
        if self._allow_request is not None:
            _let_pass(await self._allow_request(request))
        check_version(request.handshake.query)
        if self._stopping:
            raise RequestError(Refusal.FORBIDDEN, "Server shutting down")
        session = Session(
            make_sid(),
            request.handshake.query["transport"],
            asyncio.get_running_loop().time(),
            self.options,
            base64_only="b64" in request.handshake.query,
        )
        client = Client(session, request.handshake, self._application, self._strike)
        self._clients[session.sid] = client
        return client

    def shutdown(self) -> None:
        """Ends every session; opens no more."""
        self._stopping = True
        for client in self:
            client.close(CloseReason.SERVER_SHUTTING_DOWN)

    def _strike(self, client: Client) -> None:
        self._clients.pop(client.session.sid, None)


def _let_pass(refused: str | None) -> None:
    if refused is not None:
        raise RequestError(Refusal.FORBIDDEN, refused or None)
