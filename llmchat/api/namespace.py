"""The namespace `/`: the documented events, built on the use case in `answer.py`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from django.db import DatabaseError, InterfaceError

from accounts.errors import AccountError
from llmchat.access.ratelimit import count_message, count_obeyed
from llmchat.answers import runtime
from llmchat.answers.answer import (
    cancel_stream,
    find_elsewhere,
    find_stream,
    is_heard,
    start_answer,
)
from llmchat.answers.events import Cancelled, Done, Failed
from llmchat.answers.log import AnswerLog
from llmchat.answers.notices import LOOK
from llmchat.api.acks import accept, accept_attached, reject
from llmchat.api.floods import Floods, Whose, claimed_user, counter_of, user
from llmchat.api.listening import (
    cancel_elsewhere,
    confirm,
    find_awaited,
    hear_end,
    heard_by,
    is_awaited,
    listen,
    wait_for_end,
)
from llmchat.api.moves import MovingNamespace, when_there_is_a_database
from llmchat.api.socket_reader import emit
from llmchat.api.validation import (
    ATTACH_FIELDS,
    CANCEL_FIELDS,
    TURN_FIELDS,
    readable_session_id,
    turn_from,
    validated,
)
from llmchat.api.visitors import (
    Visitor,
    authenticate,
    check_welcome,
    error_data,
    leave_when_idle,
    make_room,
    refused,
    room_of,
    visitor_of,
)
from llmchat.api.watch import Watch
from llmchat.api.wire import NAMES, shortened
from llmchat.errors import ChatError, refusal
from llmchat.realtime import Ack, ComeBackLater, ConnectionRefused, Socket, event

ASK = "llm:chat:stream"
ATTACH = "llm:stream:attach"
CANCEL = "llm:stream:cancel"
# A connection gets an error event about the limit at most this often, except that each
# of its questions gets one.
_REFUSAL_EVERY_S = 1.0
# How many connections are closed before the event loop gets a turn.
_CLOSE_AT_ONCE = 16
# A client that has just received an end may be sending its next question, which would
# be lost without a trace if the connection were closed at that very moment. So it stays
# open for this long after an end, and a question that arrives gets a refusal.
_NEXT_QUESTION_S = 1.0


class ChatNamespace(MovingNamespace):
    """Lets in clients with an access token or API key, and streams answers to them."""

    # Each stream ends with exactly one of these.
    vital = frozenset(NAMES[kind] for kind in (Cancelled, Done, Failed))

    def __init__(self) -> None:
        super().__init__()
        self._watch = Watch(self)
        self._floods = Floods()

    async def on_connect(self, socket: Socket) -> None:
        """Called before a client is let in."""
        try:
            await self.let_in(socket)
        except (DatabaseError, InterfaceError) as exc:
            if isinstance(socket.auth.get("pid"), str):
                # Its socket is gone by now. But it waits for the outage to end, and
                # the stock client gives up after a refusal.
                raise ComeBackLater from exc
            error = refusal("database_unavailable")
            raise ConnectionRefused(error.text, error_data(error)) from exc

    async def let_in(self, socket: Socket) -> None:
        """Let a client in, to a socket of its own.

        Raises: ConnectionRefused; DatabaseError or InterfaceError.
        """
        # A flooding user is turned away before anything is spent on the token.
        if self._floods.is_blocking:
            claimed = claimed_user(socket.auth.get("token"))
            if claimed is not None:
                self._check_blocked(user(claimed))
        try:
            verified = await authenticate(socket, socket.auth)
        except AccountError as exc:
            raise ConnectionRefused(exc.text, {"code": exc.code}) from exc
        user_id = verified.user_id
        self._floods.count(verified)
        self._check_blocked(counter_of(verified)[0])
        make_room(self.sockets_in(room_of(user_id)))
        socket.data = Visitor(verified)
        socket.join(room_of(user_id))
        self.keep_watch()

    async def on_recover(self, socket: Socket, auth: dict[str, Any]) -> bool:
        """Called when a client comes back: its token must be of the same user.

        Raises: ComeBackLater, if the database does not answer. With a new socket, the
        client would lose the end of what it was being sent.
        """
        if visitor_of(socket).is_lost:
            return False
        try:
            verified = await when_there_is_a_database(
                lambda: authenticate(socket, auth)
            )
        except AccountError:
            return False
        visitor, whose = visitor_of(socket), counter_of(verified)[0]
        if verified.user_id != visitor.user_id or self._floods.blocked_for(whose):
            return False
        visitor.verified = verified
        visitor.leaving = False
        # An answer that it awaits may have been given up meanwhile.
        return not visitor.is_lost

    async def on_joined(self, socket: Socket) -> None:
        """Called when a client is in, perhaps only to leave.

        An answer that it awaits may have been given up while its socket was on the way
        here, and had no connection to close.
        """
        leave_when_idle(socket, None)

    def shorten(self, name: str, args: tuple[Any, ...]) -> Sequence[Any]:
        """Called with the end of a stream when there is no room for its text."""
        return [shortened(args[0])]

    async def on_event(
        self, socket: Socket, name: Any, args: tuple[Any, ...], ack: Ack | None
    ) -> bool:
        """Called with every event, known or not: each counts towards the limits."""
        visitor = visitor_of(socket)
        if self._floods.blocked_for(counter_of(visitor.verified)[0]) is not None:
            return self._turn_away(socket, name, args, ack)
        self._floods.count(visitor.verified)
        if name == CANCEL:
            count_obeyed(visitor.verified)
            return True
        try:
            await count_message(visitor.verified)
        except ChatError as exc:
            if name == ATTACH:
                reject(ack, exc)
            elif name == ASK or _is_told(visitor):
                # The client waits for the end of each question, so each gets one. A
                # client that floods with questions is blocked before long.
                _refuse(socket, args, exc, ack)
            return False
        return True

    def _turn_away(
        self, socket: Socket, name: Any, args: tuple[Any, ...], ack: Ack | None
    ) -> bool:
        """Disconnect a blocked sender, but let a cancel of a running answer through.

        The error event does not name an answer that may continue: the client would
        take it for the answer's end.
        """
        session_id = readable_session_id(args[0] if args else None)
        user_id = visitor_of(socket).user_id
        if name == CANCEL and session_id and is_heard(user_id, session_id):
            return True
        if socket.connected:
            whose = counter_of(visitor_of(socket).verified)[0]
            wait_s = self._floods.blocked_for(whose)
            error = refusal("rate_limited", retry_after=wait_s)
            named = None if name in (ATTACH, CANCEL) else session_id
            emit(socket, Failed(named, error))
            reject(ack, error)
            socket.close_transport()
        return False

    def _check_blocked(self, whose: Whose) -> None:
        """Refuse a blocked sender, perhaps the user that an unverified token claims."""
        wait_s = self._floods.blocked_for(whose)
        if wait_s is not None:
            raise refused(refusal("rate_limited", retry_after=wait_s))

    async def on_disconnect(self, socket: Socket, reason: str) -> None:
        """Called when a client is away: it no longer holds up the other readers."""
        for stream in list(visitor_of(socket).running):
            stream.look_again()

    async def on_forget(self, socket: Socket) -> None:
        """Called when a client cannot come back: its readers leave their streams."""
        running = visitor_of(socket).running
        for stream, reader in list(running.items()):
            stream.leave(reader)
        running.clear()

    @event(ASK)
    async def chat_stream(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        """Start a stream; it continues after the handler has returned."""
        streams = runtime.get().streams
        try:
            await check_welcome(socket)
            turn = turn_from(validated(TURN_FIELDS, args[0] if args else None))
            sender = visitor_of(socket).verified
            stream = streams.register(sender.user_id, turn.session_id, sender.key_id)
        except ChatError as exc:
            _refuse(socket, args, exc, ack)
            leave_when_idle(socket, exc)
            return
        reader = listen(socket, stream, is_owner=True)
        reader.when_started(partial(accept, ack, stream))
        start_answer(turn, stream)

    @event(ATTACH)
    async def attach(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        """Send the socket a stream of the same user, from now on.

        A refusal is sent in the ack only: an error event would be taken for the end.
        """
        if ack is None:
            error = refusal("bad_request", text=f"{ATTACH} needs an ack callback")
            emit(socket, Failed(None, error))
            return
        try:
            await check_welcome(socket)
            fields = validated(ATTACH_FIELDS, args[0] if args else None)
            stream = await find_stream(
                visitor_of(socket).user_id,
                message_id=fields.get("messageId"),
                session_id=fields.get("sessionId"),
                conversation_id=fields.get("conversationId"),
            )
        except ChatError as exc:
            reject(ack, exc)
            leave_when_idle(socket, exc)
            return
        if stream.end is not None:
            if is_awaited(socket, stream):
                listen(socket, stream, is_owner=False)
            accept_attached(ack, stream, None)
            return
        reader = listen(socket, stream, is_owner=False)
        # Send what is outstanding now. The ack carries the whole text, and none of that
        # may follow it as tokens.
        reader.flush()
        reader.when_started(partial(accept_attached, ack, stream))

    @event(CANCEL)
    async def cancel(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        """Cancel a stream of the same user, wherever it was started."""
        try:
            fields = validated(CANCEL_FIELDS, args[0] if args else None)
        except ChatError as exc:
            _refuse(socket, args, exc, ack)
            return
        user_id, session_id = visitor_of(socket).user_id, fields["sessionId"]
        stream = cancel_stream(user_id=user_id, session_id=session_id)
        if stream is not None:
            # This socket gets the end, once, like the sockets that follow the stream.
            hear_end(socket, stream)
            socket.spawn(confirm(socket, stream, ack))
            return
        ending: AnswerLog | None = runtime.get().streams.find(user_id, session_id)
        if ending is None:
            try:
                ending = await find_elsewhere(user_id, session_id)
                if ending is not None and await cancel_elsewhere(socket, ending):
                    socket.spawn(confirm(socket, ending, ack))
                    return
                ending = ending or await find_awaited(socket, session_id)
            except ChatError as exc:
                _refuse_cancel(socket, args, exc, ack)
                return
            # Perhaps its end is stored, but still on the way here from its worker.
            ending = ending or heard_by(socket, session_id)
        socket.spawn(_too_late(socket, args, ending, ack))

    async def send_away_idle(self) -> None:
        """Close the connections of clients that wait for nothing; they reconnect."""
        closed = 0
        latest_end = time.monotonic() - _NEXT_QUESTION_S
        for socket in self.sockets:
            visitor = visitor_of(socket)
            if not visitor.is_idle or visitor.heard_end_at > latest_end:
                continue
            # Acks of events that are being handled would be lost with the connection.
            if socket.is_busy:
                continue
            socket.close_transport()
            closed += 1
            if closed % _CLOSE_AT_ONCE == 0:
                # Closing a crowd must not delay the answers of those that stay.
                await asyncio.sleep(0)

    def keep_watch(self) -> None:
        """Make sure that the tokens of the sockets here are being watched."""
        # Not every ASGI server announces its start, so this may be what creates the
        # runtime, which puts the books right.
        runtime.get().on(LOOK, self._watch.look)
        self._watch.ensure_running()


def _is_told(visitor: Visitor) -> bool:
    """Return whether to tell a connection now that it is over the limit."""
    now = time.monotonic()
    if now < visitor.next_refusal_at:
        return False
    visitor.next_refusal_at = now + _REFUSAL_EVERY_S
    return True


async def _too_late(
    socket: Socket, args: tuple[Any, ...], ending: AnswerLog | None, ack: Ack | None
) -> None:
    """Refuse a cancel that came too late, after the end of the answer, if any."""
    if ending is not None:
        await wait_for_end(socket, ending)
    _refuse(socket, args, refusal("stream_not_found"), ack)


def _refuse_cancel(
    socket: Socket, args: tuple[Any, ...], error: ChatError, ack: Ack | None
) -> None:
    """Say why nothing is cancelled, without naming an answer that may continue.

    The client would take an error event that names the answer for its end.
    """
    if error.code == "stream_not_found":
        _refuse(socket, args, error, ack)
    else:
        emit(socket, Failed(None, error))
        reject(ack, error)


def _refuse(
    socket: Socket, args: tuple[Any, ...], error: ChatError, ack: Ack | None
) -> None:
    session_id = readable_session_id(args[0] if args else None)
    emit(socket, Failed(session_id, error))
    reject(ack, error)
