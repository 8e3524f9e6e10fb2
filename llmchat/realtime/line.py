"""One client's Socket.IO connection: the protocol's half of the dispatcher.

This is the only place that knows both protocols: it is its peer's `Receiver` on one
side, and the `Line` of its sockets on the other. A `Member` handles the events.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, Protocol

from .engineio.events import CloseReason
from .member import Member
from .members import Members, Nowhere
from .namespaces import ComeBackLater, ConnectionRefused, Namespace
from .peer import Peer
from .rare_log import RareLog
from .replay import Messages, Replay
from .socketio.connection import Connection, Limits
from .socketio.errors import PacketError, ProtocolError
from .socketio.events import (
    AckReceived,
    ConnectRequested,
    DisconnectReceived,
    Event,
    EventReceived,
)
from .tasks import Tasks
from .turns import turns

logger = logging.getLogger(__name__)
rare_log = RareLog(logger)

CLIENT_LEFT = "client namespace disconnect"
SERVER_EXPELLED = "server namespace disconnect"

# What another worker hands over may be outdated, and a later one elsewhere.
MAX_FETCHES = 2
# After these, a client may come back and recover its sockets.
RECOVERABLE = frozenset(CloseReason) - {CloseReason.PARSE_ERROR}


class Confirmable(Protocol):
    """What is notified when the client has what was sent."""

    def confirm(self, number: int) -> None:
        """Note that the client has what was sent, up to the event of this number."""


class Unconfirmed:
    """Events on their way, of one message each, that follow each other.

    The client has the first of them after `first` messages, the last one after `last`;
    `kept` is the replay that keeps them, and `number` the number of the last one there.
    Or it is an answer that gives a member another `pid`: then `kept` is the member,
    and the number is 0.

    A stream is one of these, however many tokens are on their way: an object for each
    would have to be looked at by every garbage collection.
    """

    __slots__ = ("first", "kept", "last", "number")

    def __init__(self, count: int, kept: Confirmable, number: int) -> None:
        self.first = self.last = count
        self.kept = kept
        self.number = number

    def confirm(self, count: int) -> bool:
        """Confirm what the client has after `count` messages; return if that is all."""
        reached = min(count, self.last)
        self.kept.confirm(self.number - (self.last - reached))
        self.first = reached + 1
        return reached == self.last


class SocketIOLine:
    """One client's connection, and its members by namespace."""

    __slots__ = (
        "_connection",
        "_ended",
        "_joining",
        "_loop",
        "_members",
        "_members_by_name",
        "_namespaces",
        "_peer",
        "_sent",
        "_unconfirmed",
    )

    def __init__(
        self,
        peer: Peer,
        namespaces: Mapping[str, Namespace],
        members: Members,
        limits: Limits,
    ) -> None:
        self._peer = peer
        self._namespaces = namespaces
        self._members = members
        self._loop = asyncio.get_running_loop()
        self._connection = Connection(self._loop.time(), limits)
        self._members_by_name: dict[str, Member] = {}
        self._joining = Tasks()
        self._ended: CloseReason | None = None
        # The peer confirms by the count of messages, the replays know events.
        self._sent = 0
        self._unconfirmed: deque[Unconfirmed] | None = None  # most clients are idle

    # In: what the session reports. See `Receiver`.

    @property
    def next_deadline(self) -> float | None:
        """Return when to call `tick`."""
        return self._connection.next_deadline

    def tick(self, now: float) -> None:
        """Close the connection of a client that takes too long."""
        try:
            self._connection.tick(now)
        except ProtocolError as error:
            self._fail(error, CloseReason.FORCED_CLOSE)

    def receive(self, message: str | bytes) -> None:
        """Take in one message."""
        try:
            event = self._connection.receive_message(message, self._loop.time())
        except PacketError as error:
            self._fail(error, CloseReason.PARSE_ERROR)
        except ProtocolError as error:
            self._fail(error, CloseReason.FORCED_CLOSE)
        else:
            if event is not None:
                self._dispatch(event)

    def confirmed(self, count: int) -> None:
        """Stop keeping for a recovery what has arrived: the first `count` messages."""
        unconfirmed = self._unconfirmed
        while unconfirmed and unconfirmed[0].first <= count:
            if unconfirmed[0].confirm(count):
                unconfirmed.popleft()
        if not unconfirmed:
            self._unconfirmed = None

    def closed(self, reason: CloseReason) -> None:
        """Detach all members, since the session has ended."""
        self._ended = reason
        self._joining.cancel()
        self._unconfirmed = None
        self._detach_all(reason)

    def _detach_all(self, reason: CloseReason) -> None:
        recoverable = reason in RECOVERABLE
        for name in list(self._members_by_name):
            self._detach(name, reason.value, recoverable=recoverable)

    def _dispatch(self, event: Event) -> None:
        match event:
            case ConnectRequested(name, auth):
                self._connect(name, auth)
            case EventReceived(namespace):
                if not self._members_by_name[namespace].receive(event):
                    error = ProtocolError("too many events are waiting")
                    self._fail(error, CloseReason.FORCED_CLOSE)
            case AckReceived(name, ack_id, args):
                self._members_by_name[name].outlet.resolve(ack_id, args)
            case DisconnectReceived(name):
                self._detach(name, CLIENT_LEFT, recoverable=False)

    def _fail(self, error: ProtocolError, reason: CloseReason) -> None:
        rare_log.warn(reason.value, f"Closing a connection: {error}")
        self._peer.close(reason)

    def _detach(self, name: str, reason: str, *, recoverable: bool) -> None:
        self._members_by_name.pop(name).detach(reason, recoverable=recoverable)

    # Joining.

    def _connect(self, name: str, auth: dict[str, Any]) -> None:
        namespace = self._namespaces.get(name)
        if namespace is None:
            self.send([self._connection.refuse(name, "Invalid namespace")])
        else:
            self._joining.run(self._join(namespace, auth))

    async def _join(self, namespace: Namespace, auth: dict[str, Any]) -> None:
        name = namespace.name
        await turns().come_or_go()
        try:
            member = await self._member_for(namespace, auth)
        except ConnectionRefused as refused:
            self.send([self._connection.refuse(name, refused.message, refused.data)])
        except ComeBackLater:
            # After a refusal, the stock client would not come back by itself.
            self.close()
        except Exception:
            logger.exception("Joining %s failed", name)
            self.send([self._connection.refuse(name, "Internal server error")])
        else:
            self._let_in(name, member)

    def _let_in(self, name: str, member: Member) -> None:
        if self._ended is None:
            pid = member.pid if member.outlet.replay is not None else None
            self._note_answer(self._sent + 1, member)
            self.send([self._connection.accept(name, member.socket.id, pid)])
        if self._ended is not None:
            # The application ignored its cancellation, or the answer was one message
            # too many for the connection.
            self._leave_behind(member, self._ended)
            return
        self._members_by_name[name] = member
        member.admit()

    def _leave_behind(self, member: Member, reason: CloseReason) -> None:
        """Give up a member whose joining outlasted the connection."""
        if member.socket.recovered:
            member.detach(reason.value, recoverable=reason in RECOVERABLE)
        else:
            self._members.dismiss(member)

    async def _member_for(self, namespace: Namespace, auth: dict[str, Any]) -> Member:
        """Return the member that the client had, or a new one.

        A join that fails leaves nothing behind, whether the connection ended or the
        application refused the client.
        """
        handshake = self._peer.handshake
        member = await self._members.claim(namespace, auth)
        if member is None and isinstance(auth.get("pid"), str):
            member = await self._from_elsewhere(namespace, auth)
        if member is not None:
            member.attach(self, auth, handshake)
            return member
        member = self._members.create(namespace, auth, handshake, self)
        try:
            await namespace.on_connect(member.socket)
        except BaseException:
            self._members.dismiss(member)
            raise
        self._members.grant(member)
        return member

    async def _from_elsewhere(
        self, namespace: Namespace, auth: dict[str, Any]
    ) -> Member | None:
        """Return the member that another worker has, or had if that worker is gone."""
        members, handshake = self._members, self._peer.handshake
        turn = members.turn_of(auth["pid"])
        await turn.acquire()
        with ExitStack() as held:
            held.callback(turn.release)
            for _ in range(MAX_FETCHES):
                # Another connection, or its session, may have brought it here by now.
                member = await members.claim(namespace, auth)
                if member is not None:
                    return member
                found = await self._fetch(namespace, auth, held)
                if not isinstance(found, dict):
                    break
                member = members.take_over(namespace, found, handshake, self)
                if member is not None:
                    return member
            if found is not Nowhere.UNKNOWN:
                member = await members.revive(namespace, auth, handshake, self)
            return member or await members.claim(namespace, auth)

    async def _fetch(
        self, namespace: Namespace, auth: dict[str, Any], held: ExitStack
    ) -> dict[str, Any] | Nowhere:
        """Return the state of a member that another worker hands over.

        If this connection is lost meanwhile, what comes is kept, and `held` until then.
        """
        fetching = self._members.begin_fetch(namespace, auth)
        try:
            return await asyncio.shield(fetching)
        except asyncio.CancelledError:
            keep = partial(self._keep_fetched, namespace, held.pop_all())
            fetching.add_done_callback(keep)
            raise

    def _keep_fetched(
        self, namespace: Namespace, held: ExitStack, fetching: asyncio.Task[Any]
    ) -> None:
        """Keep a socket for a client that was lost while its socket was fetched."""
        with held:
            if fetching.cancelled() or fetching.exception() is not None:
                return
            state = fetching.result()
            if isinstance(state, dict):
                handshake = self._peer.handshake
                member = self._members.take_over(namespace, state, handshake, self)
                if member is not None:
                    reason = self._ended or CloseReason.TRANSPORT_CLOSE
                    member.detach(reason.value, recoverable=reason in RECOVERABLE)

    # Another worker.

    @property
    def is_joining(self) -> bool:
        """Return whether the client is being let in to a namespace."""
        return bool(self._joining)

    def hand_over(self, worker: str) -> dict[str, Any] | None:
        """Return what `take_over` needs on that worker; None: something is at work."""
        members = self._members_by_name
        if self._joining or not self._connection.is_at_rest:
            return None
        if not all(member.is_at_rest for member in members.values()):
            return None
        handed: dict[str, Any] = {}
        for name, member in list(members.items()):
            state = member.hand_over(worker)
            # The application was asked, and may have made this member leave, or all.
            if self._ended is not None:
                return None
            if state is not None:
                handed[name] = state
            members.pop(name, None)
        self._unconfirmed = None
        return {"namespaces": self._connection.hand_over(), "members": handed}

    def take_over(self, state: dict[str, Any], waiting: int) -> None:
        """Continue where the line of another worker stopped."""
        self._connection.take_over(state["namespaces"])
        self._sent = waiting
        handed = state["members"].items()
        bringing = [self._bring(name, one, waiting) for name, one in handed]
        brought = [one for one in bringing if one is not None]
        if len(brought) < len(bringing):
            # Its client is connected in another way. The transport, which the packet
            # that closes this connection needs, comes after this.
            self._loop.call_soon(self._peer.close)
        for member, last in brought:
            if self._ended is None:
                member.outlet.admit(behind=last)
        if self._ended is not None:
            # One of the members has ended the session.
            self._detach_all(self._ended)

    def _bring(
        self, name: str, handed: dict[str, Any], waiting: int
    ) -> tuple[Member, int] | None:
        """Bring a member from another worker; return it and its last event there.

        None: its client has a later one.
        """
        namespace, handshake = self._namespaces[name], self._peer.handshake
        member = self._members.bring(namespace, handed, handshake, self)
        if member is None:
            self._connection.expel(name)  # whatever its client still sends is ignored
            return None
        self._members_by_name[name] = member
        last = 0
        if (replay := member.outlet.replay) is not None:
            last = replay.last
            if kept := replay.events:
                # Once the client has the messages that wait, it has all earlier ones.
                self._note_unconfirmed(max(waiting, 1), replay, kept[-1].number)
        self._note_answer(max(waiting, 1), member)
        member.move_in(handed)
        return member, last

    # Out: what the sockets ask for. See `Line`.

    @property
    def writable(self) -> bool:
        """Return whether emitters may continue."""
        return self._peer.writable

    @property
    def transport(self) -> str:
        """Return the name of the current transport."""
        return self._peer.session.transport

    def send(
        self, messages: Messages, replay: Replay | None = None, number: int = 0
    ) -> None:
        """Queue messages that belong together."""
        more = len(messages)
        self._sent += more
        if replay is not None:
            last = self._unconfirmed[-1] if self._unconfirmed else None
            if (
                last is not None
                and last.kept is replay
                and last.last + more == self._sent
                and last.number + more == number
                # The last message of an event with attachments is one of them.
                and isinstance(messages[-1], str)
            ):
                last.last, last.number = self._sent, number
            else:
                self._note_unconfirmed(self._sent, replay, number)
        self._peer.send(messages)

    def _note_unconfirmed(self, count: int, kept: Confirmable, number: int) -> None:
        if self._unconfirmed is None:
            self._unconfirmed = deque()
        self._unconfirmed.append(Unconfirmed(count, kept, number))

    def _note_answer(self, count: int, member: Member) -> None:
        """Note which message gives the client its new `pid`, if the member has one."""
        if member.former_pid is not None:
            self._note_unconfirmed(count, member, 0)

    async def drain(self) -> None:
        """Wait until the client has caught up, or the connection has ended."""
        await self._peer.drain()

    def expel(self, namespace: str, *, close: bool) -> None:
        """Make the client leave the namespace; `close`: leave all, and disconnect."""
        leaving = list(self._members_by_name) if close else [namespace]
        packets: Messages = []
        # Detach before `send`: one message too many ends the connection within it.
        for name in leaving:
            if name in self._members_by_name:
                packets.append(self._connection.expel(name))
                self._members_by_name[name].drop_events()
                self._detach(name, SERVER_EXPELLED, recoverable=False)
        self.send(packets)
        if close:
            self._peer.close()

    def close(self) -> None:
        """Close the connection; the client comes back by itself."""
        self._peer.close()
