"""The sessions of this process, and who may open one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from llmchat.workers import Mailbox

from .engineio.errors import Refusal, RequestError
from .engineio.events import CloseReason
from .engineio.handshake import (
    Action,
    Options,
    check_request,
    check_version,
)
from .engineio.session import Session
from .peer import Application, Peer
from .relay import Reception, RemoteSession
from .request import Handshake, Request
from .sids import Sids
from .transports import Endpoint

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
        secret: bytes = b"",
    ) -> None:
        """`application` makes the receiver of each peer. `allow_request` judges a
        request that would open a session: None lets it in, a text refuses it.
        `judge_request` does the same with every request, and must not wait. Workers
        that share a `secret` recognize each other's sessions by it."""
        self._application = application
        self.options = options or Options()
        self._allow_request = allow_request
        self._judge_request = judge_request
        self._peers: dict[str, Peer] = {}
        self._sids = Sids(secret)
        self._stopping = self._is_over = False
        self._mailbox: Mailbox | None = None

    def join(self, mailbox: Mailbox) -> None:
        """Let the requests of a session arrive at any of several workers."""
        self._mailbox = mailbox
        self._sids.address = mailbox.address
        Reception(mailbox, self._current)

    @property
    def relayed(self) -> int:
        """Return how many sessions poll through other workers."""
        return sum(peer.polls_elsewhere for peer in self)

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def admit(self, request: Request) -> tuple[Action, Endpoint | None]:
        """Judge a request: return what it asks for, and the session that it names.

        If that session is None, one is to be opened.

        Raises:
            RequestError: it is refused.
        """
        endpoint, transport = self._named(request.sid)
        action = check_request(
            request.method,
            request.handshake.query,
            websocket=request.websocket,
            origin=request.origin,
            session_transport=transport,
            options=self.options,
        )
        if self._judge_request is not None:
            _let_pass(self._judge_request(request))
        return action, None if action is Action.OPEN else endpoint

    def _named(self, sid: str) -> tuple[Endpoint | None, str | None]:
        """Return a session and its transport; None, None if it is not known."""
        peer = self._current(sid)
        if peer is not None:
            return peer, peer.session.transport
        mailbox, owner = self._mailbox, self._sids.owner(sid)
        if mailbox is None or owner is None:
            return None, None
        # Its worker will find out whether it exists, and polls.
        taking = self._may_take_over, self._take_over
        return RemoteSession(sid, owner, mailbox, *taking), "polling"

    def _current(self, sid: str) -> Peer | None:
        """Return a session, unless its time is over.

        A deadline counts once it has passed, even if its timer has not fired yet.
        """
        peer = self._peers.get(sid)
        if peer is None or not peer.is_due:
            return peer
        peer.tick()
        return self._peers.get(sid)

    async def open(self, request: Request) -> Peer:
        """Open a session for a request that asks for one.

        Raises:
            RequestError: the application or the version check refuses it.
        """
        if self._allow_request is not None:
            _let_pass(await self._allow_request(request))
        check_version(request.handshake.query)
        if self._stopping:
            raise RequestError(Refusal.SHUTTING_DOWN)
        session = Session(
            self._sids.make(),
            request.handshake.query["transport"],
            asyncio.get_running_loop().time(),
            self.options,
            base64_only="b64" in request.handshake.query,
        )
        return self._keep(session, request.handshake)

    def _may_take_over(self) -> bool:
        """Return whether what comes with a session would not end with this worker.

        Without it, the client comes back for that elsewhere.
        """
        return not self._is_over

    def _take_over(self, sid: str, state: Any) -> Peer:
        """Take over another worker's session, which then adopts a WebSocket."""
        session = Session(
            sid,
            "websocket",
            asyncio.get_running_loop().time(),
            self.options,
            base64_only=state["base64_only"],
        )
        peer = self._keep(session, Handshake(*state["handshake"]))
        peer.take_over(state)
        if self._stopping:
            # After the WebSocket is adopted.
            loop = asyncio.get_running_loop()
            loop.call_soon(peer.close, CloseReason.SERVER_SHUTTING_DOWN)
        return peer

    def _keep(self, session: Session, handshake: Handshake) -> Peer:
        peer = Peer(session, handshake, self._application, self._forget)
        self._peers[session.sid] = peer
        return peer

    def open_no_more(self) -> None:
        """Open no more sessions; the existing ones continue."""
        self._stopping = True

    def shutdown(self) -> None:
        """End every session; open no more, and take none over."""
        self.open_no_more()
        self._is_over = True
        for peer in self:
            peer.close(CloseReason.SERVER_SHUTTING_DOWN)

    def _forget(self, peer: Peer) -> None:
        self._peers.pop(peer.sid, None)


def _let_pass(refused: str | None) -> None:
    if refused is not None:
        raise RequestError(Refusal.FORBIDDEN, refused or None)
