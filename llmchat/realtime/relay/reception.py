"""The sessions of this worker, as seen by requests that arrived at other workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from llmchat.realtime.engineio.errors import Refusal, RequestError
from llmchat.realtime.peer import Peer
from llmchat.realtime.rest import REST_S, at_rest
from llmchat.workers import Mailbox

from . import names
from .claims import CLAIM_S

# The shortest time between two answers to a client that polls through another worker:
# what is emitted in between goes with the next answer.
GATHER_S = 0.05

Find = Callable[[str], Peer | None]


class RemoteRequest:
    """A `Poll` or a `Post` that another worker holds."""

    __slots__ = ("outcome",)

    def __init__(self) -> None:
        self.outcome: asyncio.Future[names.Outcome] = asyncio.Future()

    def answer(self, body: bytes) -> None:
        """Answer a poll."""
        self._settle([names.ANSWER, body])

    def accept(self) -> None:
        """Answer a post."""
        self._settle([names.ACCEPT])

    def refuse(self, status: int) -> None:
        """Answer with an error."""
        self._settle([names.STATUS, status])

    def deny(self, error: RequestError) -> None:
        """Answer with an error that says why."""
        self._settle(names.refusal(error.refusal))

    def _settle(self, outcome: names.Outcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class Reception:
    """Replies to what other workers ask about the sessions of this one."""

    def __init__(self, mailbox: Mailbox, find: Find) -> None:
        """`find` returns the session of an id, None if its time is over."""
        self._find = find
        self._posts: dict[str, RemoteRequest] = {}
        self._answered_at: WeakKeyDictionary[Peer, float] = WeakKeyDictionary()
        mailbox.on(names.POLL, self._poll)
        mailbox.on(names.POST, self._post)
        mailbox.on(names.BODY, self._body)
        mailbox.on(names.BREAK, self._break)
        mailbox.on(names.OPEN_PROBE, self._open_probe)
        mailbox.on(names.MAY_PONG, self._may_pong)
        mailbox.on(names.PING_PROBE, self._ping_probe)
        mailbox.on(names.TAKE, self._take)

    async def _poll(self, sender: str, body: Any) -> names.Outcome:
        (sid,) = body
        peer = self._find(sid)
        if peer is None:
            return names.refusal(Refusal.UNKNOWN_SID)
        if peer.session.transport != "polling":
            return names.refusal(Refusal.BAD_REQUEST)
        await self._gather(peer)
        poll = RemoteRequest()
        peer.start_poll_elsewhere(poll)
        try:
            outcome = await poll.outcome
        except asyncio.CancelledError:
            peer.lose_poll(poll)
            raise
        self._answered_at[peer] = asyncio.get_running_loop().time()
        peer.answer_sent(poll)
        return outcome

    async def _gather(self, peer: Peer) -> None:
        """Wait for more to answer with, if the last answer was a moment ago.

        Not while a WebSocket is probed: its client waits for the answer, and if that
        WebSocket is lost meanwhile, the client is mute until it misses a ping.
        """
        answered_at = self._answered_at.get(peer)
        if answered_at is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(answered_at + GATHER_S):
                    await peer.wait_probe_open()

    async def _post(self, sender: str, body: Any) -> names.Outcome:
        sid, key, payload = body
        peer = self._find(sid)
        if peer is None:
            return names.refusal(Refusal.UNKNOWN_SID)
        if peer.session.transport != "polling":
            return names.refusal(Refusal.BAD_REQUEST)
        post = self._posts[key] = RemoteRequest()
        try:
            peer.start_post(post)
            if payload is not None:
                peer.receive_payload(post, payload)
            return await post.outcome
        except asyncio.CancelledError:
            peer.lose_post(post)
            raise
        finally:
            del self._posts[key]

    async def _body(self, sender: str, body: Any) -> None:
        sid, key, payload = body
        # If the announcement was lost at first, the body arrives before it.
        post = await at_rest(lambda: self._posts.get(key))
        peer = self._find(sid)
        if peer is not None and post is not None:
            peer.receive_payload(post, payload)

    async def _break(self, sender: str, body: Any) -> None:
        (sid,) = body
        peer = self._find(sid)
        if peer is not None:
            peer.break_off()

    async def _open_probe(self, sender: str, body: Any) -> None:
        (sid,) = body
        peer = self._find(sid)
        if peer is None or not peer.open_probe_elsewhere():
            return
        try:
            await peer.wait_probe_over()
        except asyncio.CancelledError:
            peer.lose_probe_elsewhere()
            raise

    async def _may_pong(self, sender: str, body: Any) -> bool:
        (sid,) = body
        peer = self._find(sid)
        return peer is not None and peer.session.probe_is_open

    async def _ping_probe(self, sender: str, body: Any) -> bool:
        (sid,) = body
        peer = self._find(sid)
        return peer is not None and peer.ping_probe_elsewhere()

    async def _take(self, sender: str, body: Any) -> Any:
        """Hand a session over as soon as it is at rest; None: time is up."""
        (sid,) = body
        # Its socket may be on a worker that is gone, which takes long to find out. If
        # the session ended meanwhile, all that would begin again on its next worker.
        await at_rest(lambda: not self._is_joining(sid) or None, CLAIM_S + REST_S)
        state = await at_rest(lambda: self._hand_over(sid, sender))
        if state is None:
            await self._break(sender, body)
        return state

    def _is_joining(self, sid: str) -> bool:
        peer = self._find(sid)
        return peer is not None and peer.is_joining

    def _hand_over(self, sid: str, worker: str) -> dict[str, Any] | None:
        peer = self._find(sid)
        return None if peer is None else peer.hand_over(worker)
