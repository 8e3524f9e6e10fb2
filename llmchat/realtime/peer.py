"""The life of one session: its machine, its transports, its timer, its receiver.

A `Peer` owns one Engine.IO session and everything that connects it to the world: the
requests that currently carry it, a writer for each of its WebSockets, and one timer.
What the session receives goes to the peer's `Receiver`, which an `Application` makes;
`dispatch` has the application that speaks Socket.IO.

Every method that is called from outside informs the machine first and then hands the
machine's events to `_follow_up`, which does all that may have become due. So the order
in which a transport, the application and the timer call does not matter.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from .carried import BAD_REQUEST, Carried
from .engineio.events import Closed, CloseReason, Event, MessageReceived, Upgraded
from .engineio.session import Session
from .rare_log import RareLog
from .receiver import Receiver
from .request import Handshake
from .timer import LazyTimer
from .transports import Poll

rare_log = RareLog(logging.getLogger(__name__))


Application = Callable[["Peer"], Receiver]


class Peer(Carried):
    """One session with its transports. Every method is called on the event loop."""

    __slots__ = (
        "__weakref__",
        "_changed",
        "_confirmed",
        "_forget",
        "_receiver",
        "_timer",
        "handshake",
    )

    def __init__(
        self,
        session: Session,
        handshake: Handshake,
        application: Application,
        forget: Callable[[Peer], None],
    ) -> None:
        """`forget` is called when no request can use the session any more."""
        super().__init__(session)
        self.handshake = handshake
        self._forget: Callable[[Peer], None] | None = forget
        self._timer = LazyTimer()
        self._changed: asyncio.Future[None] | None = None
        self._confirmed = 0
        # None after its `closed`: most receivers know their peer, and the cycle would
        # keep both alive.
        self._receiver: Receiver | None = application(self)

    @property
    def sid(self) -> str:
        """Return the session's id."""
        return self.session.sid

    @property
    def writable(self) -> bool:
        """Return whether emitters may continue; if not, they should `drain`."""
        return self.session.writable or not self.session.is_open

    @property
    def is_gone(self) -> bool:
        """Return whether the session has ended and its last packet was sent."""
        return self.session.is_closed and not self._websockets

    # What the application does.

    def send(self, messages: list[str | bytes]) -> None:
        """Queue messages that belong together; never blocks."""
        session = self.session
        if self._websockets.takes_texts():
            frames = session.pass_texts(messages)
            if frames is not None:
                self._websockets.write_texts(frames)
                return
        now = self._loop.time()
        events: list[Event] = []
        for message in messages:
            events += session.send_message(message, now)
        if events or not session.writable:
            self._follow_up(events)
        else:
            # The only possible change is that there is more to move.
            self._move()

    async def drain(self) -> None:
        """Wait until the client has caught up, or the session has ended."""
        await self._until(lambda: self.writable)

    async def wait_probe_open(self) -> None:
        """Wait until a WebSocket is trying to become the transport."""
        await self._until(lambda: self.session.probe_is_open)

    async def wait_probe_over(self) -> None:
        """Wait until no WebSocket is trying to become the transport."""
        await self._until(lambda: not self.session.probe_is_open)

    async def wait_gone(self) -> None:
        """Wait until the session has ended and its last packet was sent."""
        await self._until(lambda: self.is_gone)

    def close(self, reason: CloseReason = CloseReason.FORCED_CLOSE) -> None:
        """End the session after what is queued has been sent."""
        self._follow_up(self.session.close(reason, self._loop.time()))

    # Another worker.

    @property
    def is_joining(self) -> bool:
        """Return whether its client is being let in, for which a move has to wait."""
        return self._receiver is not None and self._receiver.is_joining

    def hand_over(self, worker: str) -> dict[str, Any] | None:
        """Return what another worker needs to continue the session, and let go of it.

        The receiver gets no `closed`. A session that is closing hands over only its
        last messages. None: it is not at rest now, or has ended.
        """
        receiver, session = self._receiver, self.session
        if session.is_closing:
            last = session.hand_over()
            self._follow_up([])
            return {"last": last, "base64_only": session.base64_only}
        if receiver is None or self._answered is not None or not session.may_move:
            return None
        received = receiver.hand_over(worker)
        if session.is_closing:  # the receiver has just closed it
            return self.hand_over(worker)
        if received is None:
            return None
        self._receiver = None
        ping_in_s = session.until_ping(self._loop.time())
        messages = session.hand_over()
        self._follow_up([])
        return {
            "messages": messages,
            "base64_only": session.base64_only,
            "ping_in_s": ping_in_s,
            "handshake": self.handshake.fields(),
            "receiver": received,
        }

    def take_over(self, state: dict[str, Any]) -> None:
        """Continue a session of another worker."""
        # A worker of an earlier version does not say when it would have pinged.
        ping_in_s = state.get("ping_in_s", self.session.options.ping_interval_s)
        self.session.take_over(state["messages"], ping_in_s, self._loop.time())
        if self._receiver is not None:
            self._receiver.take_over(state["receiver"], len(state["messages"]))
        self._timer.set(self._next_deadline(), self.tick)

    # Time.

    def tick(self) -> None:
        """Do what is due; also called before a request is judged, if anything is."""
        now = self._loop.time()
        self._follow_up(self.session.tick(now))
        receiver, deadline = self._receiver, self._receiver_deadline()
        if receiver is not None and deadline is not None and now >= deadline:
            receiver.tick(now)
            self._follow_up([])

    @property
    def is_due(self) -> bool:
        """Return whether `tick` may have something to do."""
        # The timer is never set to a later time than that of the next deadline.
        return self._timer.is_due(self._loop.time())

    def _next_deadline(self) -> float | None:
        own, receivers = self.session.next_deadline, self._receiver_deadline()
        if own is None or receivers is None:
            return receivers if own is None else own
        return min(own, receivers)

    def _receiver_deadline(self) -> float | None:
        return self._receiver.next_deadline if self._receiver is not None else None

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self._changed is None:
                self._changed = self._loop.create_future()
            await asyncio.shield(self._changed)

    # After every call of the session.

    def _follow_up(self, events: list[Event]) -> None:
        """Report what happened, move what is ready, set the timer."""
        for event in events:
            self._report(event)
        if self.session.confirmed_messages != self._confirmed:
            self._confirmed = self.session.confirmed_messages
            if self._receiver is not None:
                self._receiver.confirmed(self._confirmed)
        self._move()
        if self._changed is not None and (self.writable or self.is_gone):
            self._changed.set_result(None)
            self._changed = None
        if self.session.is_closed and self._forget is not None:
            forget, self._forget = self._forget, None
            forget(self)
        self._timer.set(self._next_deadline(), self.tick)

    def _move(self) -> None:
        """Hand what is ready to the transport."""
        if self._poll is not None:
            self._answer_poll(self._poll)
        self._websockets.wake()

    def _report(self, event: Event) -> None:
        match event:
            case MessageReceived(data):
                # Messages before a packet that ends the session still count. Messages
                # after one for which the receiver ends it do not.
                if self._receiver is not None:
                    self._receiver.receive(data)
            case Upgraded():
                self._websockets.upgrade()
            case Closed():
                self._report_close(event)

    def _report_close(self, closed: Closed) -> None:
        if closed.slow:
            size, reason = self.session.unconfirmed_bytes, closed.reason.value
            text = f"slow_client: session closed with {size} unread bytes ({reason})"
            rare_log.warn("slow_client", text)
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.closed(closed.reason)
        post, self._post = self._post, None
        if post is not None:
            post.refuse(BAD_REQUEST)
        if closed.slow or closed.reason is CloseReason.PING_TIMEOUT:
            # A client that is slow or silent will not take any more.
            self._websockets.drop(writing_only=not closed.slow)

    def _answer_poll(self, poll: Poll) -> None:
        if (body := self.session.take_poll()) is not None:
            self._poll = None
            self._answered = poll
            poll.answer(body)
