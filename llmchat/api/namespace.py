"""The namespace `/`: the documented events, on the use case of `answer.py`."""

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
from llmchat.api.moves import MovingNamespace
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
from llmchat.realtime import Ack, ConnectionRefused, Socket, event

ASK = "llm:chat:stream"
ATTACH = "llm:stream:attach"
CANCEL = "llm:stream:cancel"
# How often one connection is told that it is over the limit, but for its questions.
_REFUSAL_EVERY_S = 1.0
# Between two passes of the event loop.
_CLOSE_AT_ONCE = 16
# Who has just heard an end may ask the next question: closed at that very moment, the
# connection would lose it without a word. Until then it is refused, and told so.
_NEXT_QUESTION_S = 1.0


class ChatNamespace(MovingNamespace):
    """Lets in who has an access token or API key, and streams answers to them."""

    # The one end of each stream.
    vital = frozenset(NAMES[kind] for kind in (Cancelled, Done, Failed))

    def __init__(self) -> None:
        super().__init__()
        self._watch = Watch(self)
        self._floods = Floods()

    async def on_connect(self, socket: Socket) -> None:
        """Called before a client is let in."""
        # Whoever floods is turned away before anything is spent on the token.
        claimed = claimed_user(socket.auth.get("token"))
        if claimed is not None:
            self._check_blocked(user(claimed))
        try:
            verified = await authenticate(socket, socket.auth)
        except AccountError as exc:
            raise ConnectionRefused(exc.text, {"code": exc.code}) from exc
        except (DatabaseError, InterfaceError) as exc:
            error = refusal("database_unavailable")
            raise ConnectionRefused(error.text, error_data(error)) from exc
        user_id = verified.user_id
        self._floods.count(verified)
        self._check_blocked(counter_of(verified)[0])
        make_room(self.sockets_in(room_of(user_id)))
        # Not every server tells of its start, after which the books are put right.
        runtime.get().on(LOOK, self._watch.look)
        socket.data = Visitor(verified)
        socket.join(room_of(user_id))
        self.keep_watch()

    async def on_recover(self, socket: Socket, auth: dict[str, Any]) -> bool:
        """Called when a client comes back: it must still be the same user's."""
        if visitor_of(socket).is_lost:
            return False
        try:
            verified = await authenticate(socket, auth)
        except (AccountError, DatabaseError, InterfaceError):
            return False
        visitor, whose = visitor_of(socket), counter_of(verified)[0]
        if verified.user_id != visitor.user_id or self._floods.blocked_for(whose):
            return False
        visitor.verified = verified
        visitor.leaving = False
        return True

    def shorten(self, name: str, args: tuple[Any, ...]) -> Sequence[Any]:
        """Called with the end of a stream for whose text there is no room."""
        return [shortened(args[0])]

    async def on_event(
        self, socket: Socket, name: Any, args: tuple[Any, ...], ack: Ack | None
    ) -> bool:
        """Called with every event, known or not: each of them counts."""
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
                # Its client waits for the end of each question. Who floods with them
                # is not told for long.
                _refuse(socket, args, exc, ack)
            return False
        return True

    def _turn_away(
        self, socket: Socket, name: Any, args: tuple[Any, ...], ack: Ack | None
    ) -> bool:
        """Disconnect a user who is blocked; obey a cancel of what is running.

        An answer that may go on is not named: that would be taken for its end.
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
        """Refuse who is blocked, a user perhaps whom an unchecked token names."""
        wait_s = self._floods.blocked_for(whose)
        if wait_s is not None:
            raise refused(refusal("rate_limited", retry_after=wait_s))

    async def on_disconnect(self, socket: Socket, reason: str) -> None:
        """Called when a client is away: it holds up nobody else who listens."""
        for stream in list(visitor_of(socket).running):
            stream.look_again()

    async def on_forget(self, socket: Socket) -> None:
        """Called when a client cannot come back: it hears nothing any more."""
        running = visitor_of(socket).running
        for stream, reader in list(running.items()):
            stream.leave(reader)
        running.clear()

    @event(ASK)
    async def chat_stream(self, socket: Socket, *args: Any, ack: Ack | None) -> None:
        """Start a stream; it goes on behind the handler."""
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
        """Let the socket hear a stream of the same user, from now on.

        It is refused by its ack alone: an error event would be taken for the end.
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
        # What it has not been sent yet is not to come behind the text that has it.
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
            # It hears of the end, once, as those that heard the stream before.
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
            # Its end may be stored already, and still on its way from its worker.
            ending = ending or heard_by(socket, session_id)
        socket.spawn(_too_late(socket, args, ending, ack))

    async def send_away_idle(self) -> None:
        """Close the connections of clients that wait for nothing; they come back."""
        closed = 0
        latest_end = time.monotonic() - _NEXT_QUESTION_S
        for socket in self.sockets:
            visitor = visitor_of(socket)
            if visitor.running or visitor.heard_end_at > latest_end:
                continue
            # Another connection would not get the acks of what is being handled.
            if socket.is_busy:
                continue
            socket.close_transport()
            closed += 1
            if closed % _CLOSE_AT_ONCE == 0:
                # Those who hear answers wait for no crowd that leaves.
                await asyncio.sleep(0)

    def keep_watch(self) -> None:
        """Look after the tokens of those who are here, from now on."""
        self._watch.ensure_running()


def _is_told(visitor: Visitor) -> bool:
    """Return whether a connection is told now that it is over the limit."""
    now = time.monotonic()
    if now < visitor.next_refusal_at:
        return False
    visitor.next_refusal_at = now + _REFUSAL_EVERY_S
    return True


async def _too_late(
    socket: Socket, args: tuple[Any, ...], ending: AnswerLog | None, ack: Ack | None
) -> None:
    """Refuse to cancel what is not running, behind the end of what was."""
    if ending is not None:
        await wait_for_end(socket, ending)
    _refuse(socket, args, refusal("stream_not_found"), ack)


def _refuse_cancel(
    socket: Socket, args: tuple[Any, ...], error: ChatError, ack: Ack | None
) -> None:
    """Say why nothing is cancelled; an answer that may go on is not named.

    Such an error event would be taken for its end.
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
