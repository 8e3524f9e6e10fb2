"""A client's socket that goes on in another worker, with the answers that it hears."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from accounts.verified import Verified
from llmchat.answers.answer import find_stream
from llmchat.answers.events import Failed
from llmchat.answers.follower import Follower
from llmchat.answers.keeper import Keeper
from llmchat.api.listening import listen
from llmchat.api.socket_reader import emit, log_of
from llmchat.api.visitors import Visitor, visitor_of
from llmchat.books.placed import latest_answers
from llmchat.database import read_database
from llmchat.errors import ChatError
from llmchat.realtime import ConnectionRefused, Namespace, Socket

logger = logging.getLogger(__name__)


class MovingNamespace(Namespace):
    """A namespace whose sockets may go on in other workers."""

    def keep_watch(self) -> None:
        """Look after the tokens of those who are here, from now on."""
        raise NotImplementedError

    def identity(self, socket: Socket) -> str:
        """Called for a socket that is let in: only its user may recover it."""
        return str(visitor_of(socket).user_id)

    def may_move(self, socket: Socket) -> bool:
        """Called when a socket could go to another worker.

        Not before each answer that it hears has begun, and is stored.
        """
        running = visitor_of(socket).running
        for reader in running.values():
            reader.hurry()
        return all(
            stream.started is not None and reader.is_at_rest
            for stream, reader in running.items()
        )

    def move_out(self, socket: Socket, worker: str) -> dict[str, Any]:
        """Called when a socket goes to another worker; return what `move_in` needs.

        The answers go on: that worker follows them in a moment.
        """
        visitor = visitor_of(socket)
        heard = []
        for stream, reader in visitor.running.items():
            assert stream.started is not None
            ident = stream.started.message_id.hex
            heard.append([ident, stream.session_id, reader.position, reader.is_owner])
            Keeper(stream)
            stream.leave(reader)
        visitor.running.clear()
        verified = visitor.verified._asdict()
        verified["scopes"] = sorted(verified["scopes"])
        return {"verified": verified, "leaving": visitor.leaving, "heard": heard}

    def move_in(self, socket: Socket, state: dict[str, Any]) -> None:
        """Called when a socket has come from another worker."""
        verified = dict(state["verified"])
        verified["scopes"] = frozenset(verified["scopes"])
        socket.data = Visitor(Verified(**verified), leaving=state["leaving"])
        for ident, session_id, position, is_owner in state["heard"]:
            work = _hear(socket, UUID(ident), position, session_id, is_owner=is_owner)
            socket.spawn(work)
        self.keep_watch()

    async def on_revive(self, socket: Socket) -> bool:
        """Called when a client comes back whose worker is gone: who is it?"""
        try:
            await self.on_connect(socket)
        except ConnectionRefused:
            return False
        return True

    def revived(self, socket: Socket, marks: Mapping[str, int]) -> None:
        """Called when it has its socket back: go on from what is stored."""
        for log, position in marks.items():
            socket.marks.note(log, position)
        if marks:
            socket.spawn(_hear_all(socket, marks))


async def _hear_all(socket: Socket, marks: Mapping[str, int]) -> None:
    """Hear the answers that the client was being told when its worker ended."""
    user_id = visitor_of(socket).user_id
    try:
        latest = await read_database(latest_answers, user_id)
    except (DatabaseError, InterfaceError) as exc:
        logger.warning("a socket has nothing of its answers, no database: %s", exc)
        return
    found = {log_of(message_id): message_id for message_id in latest}
    for log, position in marks.items():
        if log in found:
            socket.spawn(_hear(socket, found[log], position))
        else:
            socket.marks.forget(log)


async def _hear(
    socket: Socket,
    message_id: UUID,
    position: int,
    session_id: str | None = None,
    *,
    is_owner: bool = True,
) -> None:
    """Hear an answer from a character on."""
    user_id = visitor_of(socket).user_id
    try:
        stream = await find_stream(user_id, message_id=message_id)
    except ChatError as exc:
        if session_id is not None:
            emit(socket, Failed(session_id, exc))
        return
    follower = Follower(stream, stream.chars)
    try:
        # The database may know less of it than the client was told.
        while stream.chars < position and await follower.read():
            pass
        listen(socket, stream, is_owner=is_owner, behind=stream.text[position:])
    finally:
        await follower.leave()
