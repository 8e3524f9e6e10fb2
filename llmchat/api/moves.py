"""How a client's socket moves to another worker, with the answers that it receives."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from accounts.verified import Verified
from llmchat.answers.answer import find_answer, find_stream
from llmchat.answers.events import Failed
from llmchat.answers.follower import Follower
from llmchat.answers.log import AnswerLog
from llmchat.answers.placeholder import PlaceholderReader
from llmchat.api.awaited import Awaited, Heard
from llmchat.api.listening import is_awaited, listen
from llmchat.api.socket_reader import emit, log_name
from llmchat.api.visitors import (
    Visitor,
    leave_when_idle,
    make_room,
    room_of,
    visitor_of,
)
from llmchat.books.placed import latest_answers
from llmchat.database import outage, read_database
from llmchat.errors import ChatError, refusal
from llmchat.realtime import ComeBackLater, ConnectionRefused, Namespace, Socket

logger = logging.getLogger(__name__)

T = TypeVar("T")

# The pause between two attempts to find an answer that a client waits for.
AGAIN_S = 2.0
# How long a client that comes back waits for the database before it is sent away, to
# come back again: each return costs far more than the wait. A session can move only
# when its client is let in, and has twelve seconds for that.
PATIENCE_S = 8.0
# Temporary refusals: a moment later the answer may be available.
_PASSING = frozenset({"database_unavailable", "too_many_streams"})


class MovingNamespace(Namespace):
    """A namespace whose sockets can move to other workers."""

    def keep_watch(self) -> None:
        """Make sure that the tokens of the sockets here are being watched."""
        raise NotImplementedError

    async def let_in(self, socket: Socket) -> None:
        """Let a client in, to a socket of its own.

        Raises: ConnectionRefused; DatabaseError or InterfaceError.
        """
        raise NotImplementedError

    def identity(self, socket: Socket) -> str:
        """Called for a socket that is let in: only its user may recover it."""
        return str(visitor_of(socket).user_id)

    def may_move(self, socket: Socket) -> bool:
        """Called when a socket could move to another worker. False: not now.

        It must wait until each answer that it receives has begun: only then is it
        stored, where the other worker can find it.
        """
        running = visitor_of(socket).running
        for reader in running.values():
            reader.hurry()
        return all(
            stream.started is not None and reader.is_at_rest
            for stream, reader in running.items()
        )

    def move_out(self, socket: Socket, worker: str) -> dict[str, Any]:
        """Called when a socket moves to another worker; return what `move_in` needs.

        A `PlaceholderReader` keeps each answer going until that worker follows it.
        """
        visitor = visitor_of(socket)
        awaited = visitor.awaited or Awaited()
        heard = dict(awaited.heard)
        for stream in awaited.found:
            PlaceholderReader(stream, worker)
        for stream, reader in visitor.running.items():
            assert stream.started is not None
            ident = stream.started.message_id.hex
            said = stream.session_id, reader.position, reader.is_owner
            heard[ident] = (ident, *said)
            PlaceholderReader(stream, worker)
            stream.leave(reader)
        visitor.running.clear()
        # Drop the old marks of answers whose positions are in `heard` by now.
        known = {log_name(UUID(ident)) for ident in heard}
        marked = {log: at for log, at in awaited.marked.items() if log not in known}
        verified = visitor.verified._asdict()
        verified["scopes"] = sorted(verified["scopes"])
        return {
            "verified": verified,
            "leaving": visitor.leaving,
            "lost": visitor.is_lost,
            "heard": [list(one) for one in heard.values()],
            "marked": marked,
        }

    def move_in(self, socket: Socket, state: dict[str, Any]) -> None:
        """Called when a socket has arrived from another worker."""
        verified = dict(state["verified"])
        verified["scopes"] = frozenset(verified["scopes"])
        visitor = Visitor(Verified(**verified), leaving=state["leaving"])
        # A worker of another version may not send it.
        visitor.is_lost = state.get("lost", False)
        socket.data = visitor
        for ident, *said in state["heard"]:
            awaited_of(socket).heard[ident] = (ident, *said)
            socket.spawn(_hear(socket, (ident, *said)), moves=True)
        self._await_marked(socket, state.get("marked", {}))
        self.keep_watch()
        room = self.sockets_in(room_of(visitor_of(socket).user_id))
        try:
            make_room([other for other in room if other is not socket])
        except ConnectionRefused:
            if socket.is_absent:
                raise
            # In a task: the connection that it has moved to is attached after this.
            socket.spawn(_send_away(socket))

    async def on_revive(self, socket: Socket, marks: Mapping[str, int]) -> bool:
        """Called when a client whose worker is gone comes back: check who it is.

        It gets a new socket if an answer that it was receiving cannot be found: with
        its old socket it would wait for the end forever.

        Raises: ComeBackLater, if the database does not answer.
        """
        try:
            await when_there_is_a_database(lambda: self.let_in(socket))
        except ConnectionRefused:
            return False
        return not marks or await _are_there(visitor_of(socket).user_id, marks)

    def revived(self, socket: Socket, marks: Mapping[str, int]) -> None:
        """Called when the client has its socket back: continue from what is stored."""
        for log, position in marks.items():
            socket.marks.note(log, position)
        self._await_marked(socket, marks)

    def _await_marked(self, socket: Socket, marks: Mapping[str, int]) -> None:
        if marks:
            awaited_of(socket).marked.update(marks)
            socket.spawn(_hear_all(socket, marks), moves=True)


def awaited_of(socket: Socket) -> Awaited:
    """Return what a socket awaits, which goes with it wherever it moves."""
    visitor = visitor_of(socket)
    if visitor.awaited is None:
        visitor.awaited = Awaited()
    return visitor.awaited


async def when_there_is_a_database(ask: Callable[[], Awaitable[T]]) -> T:
    """Return what `ask` returns; ask again while the database does not answer.

    Raises: ComeBackLater, after `PATIENCE_S`; and whatever else `ask` raises.
    """
    ends_at = time.monotonic() + PATIENCE_S
    failure: Exception | None = None
    while time.monotonic() < ends_at:
        # During a known outage, thousands of clients would only keep the threads busy.
        if failure is None or not outage.lasts:
            try:
                return await ask()
            except (DatabaseError, InterfaceError) as exc:
                failure = exc
        await asyncio.sleep(AGAIN_S * random.uniform(0.75, 1.25))
    raise ComeBackLater from failure


async def _send_away(socket: Socket) -> None:
    """Disconnect a client whose user has too many sockets, and say why."""
    emit(socket, Failed(None, refusal("too_many_sockets")))
    socket.disconnect()


async def _are_there(user_id: int, marks: Mapping[str, int]) -> bool:
    """Return whether the answers are stored; True, too, if the database is down."""
    try:
        latest = await read_database(latest_answers, user_id)
    except (DatabaseError, InterfaceError):
        return True  # `_hear_all` looks for them until the database answers
    return marks.keys() <= set(map(log_name, latest))


async def _hear_all(socket: Socket, marks: Mapping[str, int]) -> None:
    """Resume the answers that the client was receiving when its worker ended."""
    user_id = visitor_of(socket).user_id
    latest = await _insist(lambda: read_database(latest_answers, user_id))
    found = {log_name(message_id): message_id for message_id in latest}
    for log, position in marks.items():
        if log in found:
            work = _hear_rest(socket, log, found[log], position)
            socket.spawn(work, moves=True)
        else:
            _give_up(socket, log)


def _give_up(socket: Socket, log: str) -> None:
    """Stop waiting for an answer that no longer exists.

    The client waits for its end, and only the client knows which answer that is. So
    its connection is closed, now or after the answers that it receives. When it comes
    back it gets a new socket, which shows it that it has to ask.
    """
    if awaited_of(socket).marked.pop(log, None) is not None:
        visitor_of(socket).is_lost = True
        leave_when_idle(socket, None)


async def _hear_rest(socket: Socket, log: str, message_id: UUID, position: int) -> None:
    """Send the client the rest of an answer, even if that is only the end.

    The client may have been away for longer than the recovery window. It still waits
    for the end, because its `pid` has given it its socket back.
    """
    user_id = visitor_of(socket).user_id
    try:
        stream = await _insist(lambda: find_answer(user_id, message_id))
    except ChatError:
        _give_up(socket, log)
    else:
        await _listen_from(socket, stream, position, is_owner=True)


async def _insist(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the database answers and there is room for one more reader.

    It runs in a task of the socket, so it ends when the socket is forgotten.

    Raises: ChatError, unless it is temporary.
    """
    while True:
        try:
            return await ask()
        except (DatabaseError, InterfaceError) as exc:
            logger.warning(
                "cannot read a socket's answers, the database is not available: %s",
                exc,
            )
        except ChatError as exc:
            if exc.code not in _PASSING:
                raise
        await asyncio.sleep(AGAIN_S)


async def _hear(socket: Socket, heard: Heard) -> None:
    """Send an answer from a position on; if it cannot be had, an error as its end."""
    ident, session_id, position, is_owner = heard
    user_id = visitor_of(socket).user_id
    message_id = UUID(ident)
    try:
        stream = await _insist(lambda: find_stream(user_id, message_id=message_id))
    except ChatError as exc:
        if awaited_of(socket).heard.pop(ident, None) is not None:
            # Should the client come back to another worker, it has this end already.
            socket.marks.forget(log_name(message_id))
            emit(socket, Failed(session_id, exc))
            leave_when_idle(socket, None)
    else:
        await _listen_from(socket, stream, position, is_owner=is_owner)


async def _listen_from(
    socket: Socket, stream: AnswerLog, position: int, *, is_owner: bool
) -> None:
    follower, found = Follower(stream, stream.chars), awaited_of(socket).found
    found.append(stream)
    try:
        # The database may hold less of the text than the client has received.
        while stream.chars < position and await follower.read():
            pass
        # If the client has cancelled it or attached to it, it receives it already.
        if is_awaited(socket, stream):
            listen(socket, stream, is_owner=is_owner)
    finally:
        found.remove(stream)
        await follower.leave()
