"""A session of another worker, as seen by the requests that arrived at this one.

Each request gets its own `RemoteSession`, which passes the request on, and the outcome
back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from llmchat.realtime.engineio.errors import Refusal, RequestError
from llmchat.realtime.peer import Peer
from llmchat.realtime.transports import Poll, Post, WebSocket
from llmchat.workers import AwayError, Mailbox, UnreachableError

from . import names
from .remote_probe import RemoteProbe

# Most posts are whole within this time, and are announced with their body.
ANNOUNCE_S = 0.02
UNAVAILABLE = 503

_keys = count(1)
# Makes a session of this worker from one that another worker has handed over.
TakeOver = Callable[[str, object], Peer]


class RemoteSession:
    """The `Endpoint` of a session that another worker has."""

    def __init__(
        self,
        sid: str,
        owner: str,
        mailbox: Mailbox,
        may_take: Callable[[], bool],
        take_over: TakeOver,
    ) -> None:
        self.sid = sid
        self._owner = owner
        self._mailbox = mailbox
        self._taking = may_take, take_over
        self._polled: asyncio.Future[names.Outcome] | None = None
        self._is_sent = False
        self._posted: asyncio.Future[names.Outcome] | None = None
        self._announcing: asyncio.TimerHandle | None = None
        self._key = f"{mailbox.address}.{next(_keys)}"
        self._probe: RemoteProbe | None = None

    # A poll.

    def start_poll(self, poll: Poll) -> None:
        """Let the session's worker answer a GET."""
        self._polled = self._mailbox.ask(self._owner, names.POLL, [self.sid])
        self._polled.add_done_callback(partial(_settle_poll, poll))

    def lose_poll(self, poll: Poll) -> None:
        """Report that a GET, or the answer to it, was lost."""
        if self._polled is None or self._is_sent:
            return
        is_answered = self._polled.done()
        self._polled.cancel()
        if not is_answered or _carries(self._polled, names.ANSWER):
            self._break()

    def answer_sent(self, poll: Poll) -> None:
        """Note that the answer to a GET was sent."""
        self._is_sent = True

    # A post.

    def start_post(self, post: Post) -> None:
        """Announce a POST, unless its body arrives in a moment."""
        loop = asyncio.get_running_loop()
        announce = partial(self._send_post, post, None)
        self._announcing = loop.call_later(ANNOUNCE_S, announce)

    def lose_post(self, post: Post) -> None:
        """Report that a POST is illegal or lost."""
        self._stop_announcing()
        if self._posted is None or not self._posted.done():
            self._break()
        if self._posted is not None:
            self._posted.cancel()

    def receive_payload(self, post: Post, body: bytes) -> None:
        """Pass on the whole body of a POST."""
        if self._posted is None:
            self._send_post(post, body)
        else:
            # The answer to the POST is the reply to the announcement.
            fields = [self.sid, self._key, body]
            sent = self._mailbox.ask(self._owner, names.BODY, fields)
            sent.add_done_callback(partial(self._on_body_sent, post))

    def _send_post(self, post: Post, body: bytes | None) -> None:
        self._stop_announcing()
        fields = [self.sid, self._key, body]
        self._posted = self._mailbox.ask(self._owner, names.POST, fields)
        self._posted.add_done_callback(partial(_settle_post, post))

    def _on_body_sent(self, post: Post, sent: asyncio.Future[None]) -> None:
        """Refuse a POST whose body could not be passed on."""
        is_lost = not sent.cancelled() and sent.exception() is not None
        if is_lost and self._posted is not None and not self._posted.done():
            self._posted.cancel()
            _settle_post(post, sent)

    def _stop_announcing(self) -> None:
        if self._announcing is not None:
            self._announcing.cancel()

    def _break(self) -> None:
        self._mailbox.ask(self._owner, names.BREAK, [self.sid])

    # A WebSocket.

    def open_websocket(self, websocket: WebSocket) -> None:
        """Let a WebSocket probe the session, and then take it over."""
        self._probe = RemoteProbe(
            self.sid, self._owner, self._mailbox, websocket, *self._taking
        )

    def receive_frame(self, websocket: WebSocket, frame: str | bytes) -> None:
        """Hand over a frame."""
        if self._probe is not None:
            self._probe.receive(frame)

    def lose_websocket(self, websocket: WebSocket) -> None:
        """Report that the WebSocket was lost."""
        if self._probe is not None:
            self._probe.lose()


def _settle_poll(poll: Poll, asked: asyncio.Future[names.Outcome]) -> None:
    if asked.cancelled():
        return
    outcome = _outcome(asked)
    if isinstance(outcome, RequestError):
        poll.deny(outcome)
    elif outcome[0] == names.ANSWER:
        poll.answer(outcome[1])
    else:
        poll.refuse(outcome[1])


def _settle_post(post: Post, asked: asyncio.Future[Any]) -> None:
    if asked.cancelled():
        return
    outcome = _outcome(asked)
    if isinstance(outcome, RequestError):
        post.deny(outcome)
    elif outcome[0] == names.ACCEPT:
        post.accept()
    else:
        post.refuse(outcome[1])


def _outcome(asked: asyncio.Future[Any]) -> names.Outcome | RequestError:
    try:
        outcome: names.Outcome = asked.result()
    except AwayError:
        return [names.STATUS, UNAVAILABLE]
    except UnreachableError:
        # The session is gone with its worker.
        return RequestError(Refusal.UNKNOWN_SID)
    if outcome[0] == names.REFUSAL:
        return RequestError(Refusal[outcome[1]])
    return outcome


def _carries(asked: asyncio.Future[names.Outcome], kind: str) -> bool:
    if asked.cancelled() or asked.exception() is not None:
        return False
    return bool(asked.result()[0] == kind)
