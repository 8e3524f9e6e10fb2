"""The namespace `/`: the documented events, on the use case of `answer.py`."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.db import DatabaseError, InterfaceError

from accounts.errors import TokenError
from accounts.models import User
from accounts.tokens import active_user, bearer_token, remembered_user, verify
from llmchat import conf
from llmchat.access.ratelimit import count_message, count_obeyed
from llmchat.answers import runtime
from llmchat.answers.answer import cancel_stream, find_stream, start_answer
from llmchat.answers.events import Cancelled, Done, End, Failed
from llmchat.answers.live_stream import LiveStream
from llmchat.api.acks import accept, accept_attached, reject
from llmchat.api.floods import Floods, claimed_user
from llmchat.api.serializers import (
    AttachSerializer,
    CancelSerializer,
    TurnSerializer,
    readable_session_id,
    turn_from,
    validated,
)
from llmchat.api.socket_reader import SocketReader, emit
from llmchat.api.wire import NAMES
from llmchat.database import read_database
from llmchat.errors import ChatError, refusal
from llmchat.realtime import Ack, ConnectionRefused, Namespace, Socket, event

logger = logging.getLogger(__name__)

ATTACH = "llm:stream:attach"
CANCEL = "llm:stream:cancel"
# How often one connection is told that it is over the limit.
_REFUSAL_EVERY_S = 1.0
_TOKEN_CODES = frozenset({"token_expired", "token_invalid"})


@dataclass(slots=True)
class Visitor:
    """What is known of a socket's client: its `data`.

    `expires_at` in epoch seconds. `running` are the streams that it hears, `leaving`
    says that the connection is to be closed behind them.
    """

    user_id: int
    expires_at: float
    running: dict[LiveStream, SocketReader] = field(default_factory=dict)
    leaving: bool = False
    next_refusal_at: float = 0.0


class ChatNamespace(Namespace):
    """Lets in whoever has an access token, and streams answers to them."""

    # The one end of each stream.
    vital = frozenset(NAMES[kind] for kind in (Cancelled, Done, Failed))

    def __init__(self) -> None:
        super().__init__()
        self._watch: asyncio.Task[None] | None = None
        self._floods = Floods()

    async def on_connect(self, socket: Socket) -> None:
        """Called before a client is let in."""
        # Whoever floods is turned away before anything is spent on the token.
        self._check_flood(claimed_user(socket.auth.get("token")))
        try:
            user, expires_at = await _authenticate(socket, socket.auth)
        except TokenError as exc:
            raise ConnectionRefused(exc.text, {"code": exc.code}) from exc
        except (DatabaseError, InterfaceError) as exc:
            error = refusal("database_unavailable")
            raise ConnectionRefused(error.text, _error_data(error)) from exc
        self._floods.count(user.pk)
        self._check_flood(user.pk)
        self._make_room(user.pk)
        # Not every server tells of its start, after which the books are put right.
        runtime.get()
        socket.data = Visitor(user.pk, expires_at)
        socket.join(_room_of(user.pk))
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._watch_tokens())

    async def on_recover(self, socket: Socket, auth: dict[str, Any]) -> bool:
        """Called when a client comes back: it must still be the same user's."""
        try:
            user, expires_at = await _authenticate(socket, auth)
        except (TokenError, DatabaseError, InterfaceError):
            return False
        visitor = _visitor(socket)
        if user.pk != visitor.user_id or self._floods.blocked_for(user.pk):
            return False
        visitor.expires_at = expires_at
        visitor.leaving = False
        return True

    async def on_event(
        self, socket: Socket, name: Any, args: tuple[Any, ...], ack: Ack | None
    ) -> bool:
        """Called with every event, known or not: each of them counts."""
        visitor = _visitor(socket)
        if self._floods.blocked_for(visitor.user_id) is not None:
            return self._turn_away(socket, name, args)
        self._floods.count(visitor.user_id)
        if name == CANCEL:
            count_obeyed(visitor.user_id)
            return True
        try:
            await count_message(visitor.user_id)
        except ChatError as exc:
            if name == ATTACH:
                reject(ack, exc)
            elif time.monotonic() >= visitor.next_refusal_at:
                visitor.next_refusal_at = time.monotonic() + _REFUSAL_EVERY_S
                _refuse(socket, args, exc, ack)
            return False
        return True

    def _turn_away(self, socket: Socket, name: Any, args: tuple[Any, ...]) -> bool:
        """Disconnect a user who is blocked; obey a cancel of what is running."""
        session_id = readable_session_id(args[0] if args else None)
        if name == CANCEL and session_id is not None:
            streams = runtime.get().streams
            if streams.find(_visitor(socket).user_id, session_id) is not None:
                return True
        if socket.connected:
            wait_s = self._floods.blocked_for(_visitor(socket).user_id)
            error = refusal("rate_limited", retry_after=wait_s)
            emit(socket, Failed(session_id, error))
            socket.close_transport()
        return False

    def _check_flood(self, user_id: int | None) -> None:
        """Refuse a user who is blocked, or has as many connected sockets as it may.

        The user may be what an unchecked token says.
        """
        if user_id is None:
            return
        wait_s = self._floods.blocked_for(user_id)
        if wait_s is not None:
            raise _refused(refusal("rate_limited", retry_after=wait_s))
        sockets = self.sockets_in(_room_of(user_id))
        if sum(not socket.is_absent for socket in sockets) >= _most_sockets():
            raise _refused(refusal("too_many_sockets"))

    def _make_room(self, user_id: int) -> None:
        """Forget the oldest socket that only waits for its client's return."""
        sockets = self.sockets_in(_room_of(user_id))
        absent = [socket for socket in sockets if socket.is_absent]
        if len(sockets) >= _most_sockets():
            idle = [socket for socket in absent if not _visitor(socket).running]
            (idle or absent)[0].disconnect()

    async def on_forget(self, socket: Socket) -> None:
        """Called when a client cannot come back: it hears nothing any more."""
        running = _visitor(socket).running
        for stream, reader in list(running.items()):
            stream.leave(reader)
        running.clear()

    @event("llm:chat:stream")
    async def chat_stream(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        """Start a stream; it goes on behind the handler."""
        streams = runtime.get().streams
        try:
            _check_expiry(socket)
            turn = turn_from(validated(TurnSerializer, args[0] if args else None))
            stream = streams.register(_visitor(socket).user_id, turn.session_id)
        except ChatError as exc:
            _refuse(socket, args, exc, ack)
            _leave_when_idle(socket, exc)
            return
        reader = _listen(socket, stream, is_owner=True)
        reader.when_started(partial(accept, ack, stream))
        start_answer(turn, stream)

    @event(ATTACH)
    async def attach(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        """Let the socket hear a stream of the same user, from now on.

        It is refused by its ack alone: an error event would be taken for the end.
        """
        if ack is None:
            error = refusal("bad_request", text=f"{ATTACH} needs an ack callback")
            emit(socket, Failed(None, error))
            return
        try:
            _check_expiry(socket)
            fields = validated(AttachSerializer, args[0] if args else None)
            stream = find_stream(
                _visitor(socket).user_id,
                message_id=fields.get("messageId"),
                session_id=fields.get("sessionId"),
                conversation_id=fields.get("conversationId"),
            )
        except ChatError as exc:
            reject(ack, exc)
            _leave_when_idle(socket, exc)
            return
        if stream.end is not None:
            accept_attached(ack, stream, None)
            return
        reader = _listen(socket, stream, is_owner=False)
        # What it has not been sent yet is not to come behind the text that has it.
        reader.flush()
        reader.when_started(partial(accept_attached, ack, stream))

    @event(CANCEL)
    async def cancel(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        """Cancel a stream of the same user, wherever it was started."""
        try:
            fields = validated(CancelSerializer, args[0] if args else None)
        except ChatError as exc:
            _refuse(socket, args, exc, ack)
            return
        user_id, session_id = _visitor(socket).user_id, fields["sessionId"]
        stream = cancel_stream(user_id=user_id, session_id=session_id)
        if stream is not None:
            # It hears of the end, once, as those that heard the stream before.
            _listen(socket, stream, is_owner=False)
            socket.spawn(_confirm(stream, ack))
            return
        ending = runtime.get().streams.find(user_id, session_id)
        socket.spawn(_too_late(socket, args, ending, ack))

    async def _watch_tokens(self) -> None:
        """Send away those whose token or account has ended while they were silent."""
        while self.sockets or self.absent:
            await asyncio.sleep(conf.get().ping_interval_ms / 2000)
            # The answer says nothing of those who join while it is awaited.
            asked = self.sockets
            users = {_visitor(socket).user_id for socket in asked}
            try:
                active = await read_database(_active_users, users)
            except (DatabaseError, InterfaceError) as exc:
                logger.warning("no check of users, no database: %s", exc)
                continue
            for socket in asked:
                if _visitor(socket).user_id not in active or _is_over(socket):
                    socket.close_transport()


def _room_of(user_id: int) -> str:
    return f"user:{user_id}"


def _most_sockets() -> int:
    return conf.get().max_sockets_per_user


def _refused(error: ChatError) -> ConnectionRefused:
    return ConnectionRefused(error.text, _error_data(error))


def _error_data(error: ChatError) -> dict[str, Any]:
    """Return the `data` of a `connect_error`."""
    data: dict[str, Any] = {"code": error.code}
    if error.retry_after is not None:
        data["retryAfter"] = error.retry_after
    return data


def _visitor(socket: Socket) -> Visitor:
    visitor: Visitor = socket.data
    return visitor


async def _authenticate(socket: Socket, auth: dict[str, Any]) -> tuple[User, float]:
    """Return the user and the end of the token that a CONNECT brings.

    A client that cannot set `auth` sends the header. Never the query, which ends up
    in access logs.

    Raises: TokenError.
    """
    token = auth.get("token")
    if token is None or token == "":
        token = bearer_token(socket.handshake.headers.get("authorization"))
    verified = verify(token)
    user = remembered_user(verified)
    if user is None:
        user = await read_database(active_user, verified)
    return user, float(verified["exp"])


def _active_users(user_ids: set[int]) -> set[int]:
    users = get_user_model().objects.filter(pk__in=user_ids, is_active=True)
    return set(users.values_list("pk", flat=True))


def _is_over(socket: Socket) -> bool:
    """Return whether the token has ended and no stream needs the socket."""
    visitor = _visitor(socket)
    return time.time() >= visitor.expires_at and not visitor.running


def _check_expiry(socket: Socket) -> None:
    if time.time() >= _visitor(socket).expires_at:
        raise refusal("token_expired")


def _leave_when_idle(socket: Socket, error: ChatError | None) -> None:
    """Close the connection of one whose token has ended, behind its last stream.

    The client comes back by itself, with a fresh token if it has one.
    """
    visitor = _visitor(socket)
    if error is not None and error.code in _TOKEN_CODES:
        visitor.leaving = True
    if visitor.leaving and not visitor.running:
        socket.close_transport()


def _listen(socket: Socket, stream: LiveStream, *, is_owner: bool) -> SocketReader:
    """Let a socket hear an answer, once."""
    running = _visitor(socket).running
    reader = running.get(stream)
    if reader is None:
        ended = partial(_ended, socket, stream)
        reader = SocketReader(socket, stream, ended, is_owner=is_owner)
        running[stream] = reader
        stream.join(reader)
    return reader


def _ended(socket: Socket, stream: LiveStream, end: End) -> None:
    _visitor(socket).running.pop(stream, None)
    _leave_when_idle(socket, end.error if isinstance(end, Failed) else None)


async def _confirm(stream: LiveStream, ack: Ack | None) -> None:
    """Answer whoever has cancelled a stream, behind its end."""
    await stream.ended.wait()
    if stream.begun is None:
        reject(ack, refusal("stream_not_found"))
    else:
        accept(ack, stream)


async def _too_late(
    socket: Socket, args: tuple[Any, ...], ending: LiveStream | None, ack: Ack | None
) -> None:
    """Refuse to cancel what is not running, behind the end of what was."""
    if ending is not None:
        await ending.ended.wait()
    _refuse(socket, args, refusal("stream_not_found"), ack)


def _refuse(
    socket: Socket, args: tuple[Any, ...], error: ChatError, ack: Ack | None
) -> None:
    session_id = readable_session_id(args[0] if args else None)
    emit(socket, Failed(session_id, error))
    reject(ack, error)
