"""What a socket does with answers: receive one, and cancel one."""

from __future__ import annotations

import time
from functools import partial

from llmchat.answers.answer import find_stream
from llmchat.answers.events import End, Failed
from llmchat.answers.follower import Follower
from llmchat.answers.log import AnswerLog
from llmchat.api.acks import accept, reject
from llmchat.api.socket_reader import SocketReader, emit
from llmchat.api.visitors import leave_when_idle, visitor_of
from llmchat.errors import refusal
from llmchat.realtime import Ack, Socket


async def cancel_elsewhere(socket: Socket, stream: AnswerLog) -> bool:
    """Cancel an answer of another worker, and send its end to the socket, once.

    Return False if it is too late.

    Raises: ChatError.
    """
    # If so, the end reaches the socket by itself, perhaps during `stop`.
    is_told = stream in visitor_of(socket).running or is_awaited(socket, stream)
    # Follow it, but send the socket nothing until it is known not to be too late.
    follower = Follower(stream, stream.chars)
    try:
        is_stopped = await stream.stop()
        if is_awaited(socket, stream):
            # Even if it is too late: the client would take the refusal for the end.
            hear_end(socket, stream)
        elif is_stopped and stream.end is None:
            # Text that its worker sent before the end may still be on its way.
            listen(socket, stream, is_owner=False, tells_text=False)
        elif is_stopped and stream.end is not None and not is_told:
            emit(socket, stream.end)
        return is_stopped
    finally:
        await follower.leave()


def heard_by(socket: Socket, session_id: str) -> AnswerLog | None:
    """Return the answer with that session id that a socket receives, if any."""
    running = visitor_of(socket).running
    return next((answer for answer in running if answer.session_id == session_id), None)


async def find_awaited(socket: Socket, session_id: str) -> AnswerLog | None:
    """Return the answer of that name that a socket awaits, even if it has ended.

    Raises: ChatError, if no such answer has run recently.
    """
    visitor = visitor_of(socket)
    if visitor.awaited is None or visitor.awaited.is_empty:
        return None
    stream = await find_stream(visitor.user_id, session_id=session_id)
    return stream if is_awaited(socket, stream) else None


def hear_end(socket: Socket, stream: AnswerLog) -> None:
    """Send a socket the end of an answer that it cancels, once, after text it lacks.

    If the client has more text than is here, `moves.py` is waiting for the rest
    already, and then sends the end.
    """
    if (_awaited_at(socket, stream) or 0) <= stream.chars:
        listen(socket, stream, is_owner=False)


def is_awaited(socket: Socket, stream: AnswerLog) -> bool:
    """Return whether a socket is to receive an answer but does not yet."""
    return _awaited_at(socket, stream) is not None


def _awaited_at(socket: Socket, stream: AnswerLog) -> int | None:
    awaited = visitor_of(socket).awaited
    return None if awaited is None else awaited.position_of(stream)


def listen(
    socket: Socket, stream: AnswerLog, *, is_owner: bool, tells_text: bool = True
) -> SocketReader:
    """Send a socket an answer, once; if it is awaited, first the text that it lacks."""
    visitor = visitor_of(socket)
    running = visitor.running
    reader = running.get(stream)
    if reader is None:
        at = None if visitor.awaited is None else visitor.awaited.take(stream)
        behind = "" if at is None else stream.text[at:]
        ended = partial(_ended, socket, stream)
        reader = SocketReader(
            *(socket, stream, ended),
            is_owner=is_owner,
            tells_text=tells_text,
            behind=behind,
        )
        if stream.end is not None:
            reader.end(stream.end)
            return reader
        running[stream] = reader
        stream.join(reader)
    elif tells_text and not reader.tells_text:
        reader.flush()
        reader.tells_text = True
    return reader


def _ended(socket: Socket, stream: AnswerLog, end: End) -> None:
    visitor = visitor_of(socket)
    visitor.running.pop(stream, None)
    if stream.started is not None:  # a refusal does not keep the connection
        visitor.heard_end_at = time.monotonic()
    leave_when_idle(socket, end.error if isinstance(end, Failed) else None)


async def confirm(socket: Socket, stream: AnswerLog, ack: Ack | None) -> None:
    """Acknowledge the cancel of a stream, after its end."""
    await wait_for_end(socket, stream)
    if stream.started is None:
        reject(ack, refusal("stream_not_found"))
    else:
        accept(ack, stream)


async def wait_for_end(socket: Socket, stream: AnswerLog) -> None:
    """Wait until an answer has ended; send its end to the socket if that awaits it."""
    stream.hurry_to_end()
    await stream.ended.wait()
    # A mirror that is given up without a reader has no end.
    if stream.end is not None and is_awaited(socket, stream):
        listen(socket, stream, is_owner=False)
