"""A client's socket that goes on in another worker, with the answers that it hears."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import UUID

from accounts.verified import Verified
from llmchat.answers.answer import find_stream
from llmchat.answers.events import End, Failed
from llmchat.answers.keeper import Keeper
from llmchat.answers.live_stream import LiveStream
from llmchat.api.socket_reader import SocketReader, emit, message_of
from llmchat.api.visitors import Visitor, leave_when_idle, visitor_of
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
            stream.begun is not None and reader.is_at_rest
            for stream, reader in running.items()
        )

    def move_out(self, socket: Socket, worker: str) -> dict[str, Any]:
        """Called when a socket goes to another worker; return what `move_in` needs.

        The answers go on: that worker follows them in a moment.
        """
        visitor = visitor_of(socket)
        heard = []
        for stream, reader in visitor.running.items():
            assert stream.begun is not None
            ident = stream.begun.message_id.hex
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
            message_id = message_of(log)
            if message_id is not None:
                socket.spawn(_hear(socket, message_id, position))


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
    listen(socket, stream, is_owner=is_owner, behind=stream.text[position:])


def listen(
    socket: Socket, stream: LiveStream, *, is_owner: bool, behind: str = ""
) -> SocketReader:
    """Let a socket hear an answer, once; `behind` is what it lacks of its text."""
    running = visitor_of(socket).running
    reader = running.get(stream)
    if reader is None:
        ended = partial(_ended, socket, stream)
        reader = SocketReader(socket, stream, ended, is_owner=is_owner, behind=behind)
        if stream.end is not None:
            reader.end(stream.end)
            return reader
        running[stream] = reader
        stream.join(reader)
    return reader


def _ended(socket: Socket, stream: LiveStream, end: End) -> None:
    visitor_of(socket).running.pop(stream, None)
    leave_when_idle(socket, end.error if isinstance(end, Failed) else None)
