"""The use case: one turn in, its stream of events out.

Socket.IO and REST consume the same generator. A turn that is refused raises before
its first event. A turn that has begun is in the database before its provider is
called, yields `Started`, then a `Token` for each piece of text, and then exactly one
`Done`, `Failed` or `Cancelled`. A consumer that closes the generator cancels the turn,
which is stored as well. A server that stops interrupts what it cannot wait for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from django.db import InterfaceError, OperationalError

from llmchat.answers import runtime
from llmchat.answers.events import Cancelled, Done, End, Failed, Started, StreamEvent
from llmchat.answers.generation import Generation
from llmchat.answers.streams import LiveStream
from llmchat.books.begin import StartUnknownError
from llmchat.books.turn import Begun, Outcome, Turn
from llmchat.errors import ChatError, refusal
from llmchat.models import AnswerState

logger = logging.getLogger(__name__)

_RETRY_AFTER_S = 5


async def stream_answer(
    *, turn: Turn, stream: LiveStream
) -> AsyncGenerator[StreamEvent, None]:
    """Answer the turn of the user whose registered stream this is, and release it.

    Raises: ChatError, before the first event only.
    """
    shared = runtime.get()
    generation: Generation | None = None
    try:
        begun = await _begin(turn, stream)
        generation = Generation(turn, begun, stream)
        yield _started(turn, begun)
        async with aclosing(generation.tokens()) as tokens:
            async for token in tokens:
                yield token
        stream.ending = True
        ended, generation = generation, None
        stored = await shared.ends.store(begun, ended.outcome())
        # Whoever hears of the end may use the name again.
        shared.streams.release(stream)
        yield _end(ended, stored)
    finally:
        if generation is not None:
            # The consumer has closed the stream.
            stream.ending = stream.cancelled = True
            await shared.ends.store(generation.begun, generation.outcome())
        shared.streams.release(stream)


def cancel_stream(*, user_id: int, session_id: str) -> LiveStream | None:
    """Cancel the user's running stream and return it; None where it is too late.

    One that is cancelled already is returned as long as its end is not told.

    The provider's connection is closed at once; `Cancelled` follows from the stream.
    """
    stream = runtime.get().streams.find(user_id, session_id)
    if stream is None:
        return None
    return stream if stream.cancel() or stream.cancelled else None


async def _begin(turn: Turn, stream: LiveStream) -> Begun:
    """Store the start of the turn.

    Raises: ChatError.
    """
    shared = runtime.get()
    if shared.closing:
        raise refusal("draining", retry_after=runtime.DRAINING_RETRY_S)
    if not await shared.ends.settled(stream.user_id):
        raise refusal("database_unavailable", retry_after=_RETRY_AFTER_S)
    beginning = shared.spawn(_store_start(turn, stream))
    try:
        begun: Begun = await asyncio.shield(beginning)
    except asyncio.CancelledError:
        # The consumer is gone; what is being stored gets its end all the same.
        shared.spawn(_abandon(turn, stream, beginning))
        raise
    shared.checkpoints.ensure_running()
    return begun


async def _store_start(turn: Turn, stream: LiveStream) -> Begun:
    try:
        begun = await runtime.get().books.begin(stream.user_id, turn)
    except StartUnknownError as exc:
        # Should it be there, it is no answer that anybody writes.
        failed = Generation(turn, exc.begun, stream, error=exc).outcome()
        runtime.get().ends.store_later(exc.begun, failed)
        raise
    except ChatError:
        raise
    except (OperationalError, InterfaceError) as exc:
        raise refusal("database_unavailable", retry_after=_RETRY_AFTER_S) from exc
    except Exception as exc:
        logger.exception("a turn of user %s did not start", stream.user_id)
        raise refusal("internal_error") from exc
    stream.begun = begun
    return begun


async def _abandon(
    turn: Turn, stream: LiveStream, beginning: asyncio.Task[Begun]
) -> None:
    try:
        begun = await beginning
    except ChatError:
        return
    stream.ending = stream.cancelled = True
    outcome = Generation(turn, begun, stream).outcome()
    await runtime.get().ends.store(begun, outcome)


def _started(turn: Turn, begun: Begun) -> Started:
    return Started(
        session_id=turn.session_id,
        provider=turn.provider,
        model=begun.model,
        conversation_id=begun.conversation_id,
        message_id=begun.message_id,
    )


def _end(generation: Generation, outcome: Outcome) -> End:
    """Return the event that tells the client of the outcome."""
    begun, session_id = generation.begun, generation.turn.session_id
    if outcome.state == AnswerState.COMPLETE:
        return Done(
            session_id=session_id,
            provider=generation.route.provider.name,
            model=outcome.model,
            conversation_id=begun.conversation_id,
            message_id=begun.message_id,
            text=outcome.text,
            finish_reason=outcome.finish_reason,
            usage=outcome.usage,
        )
    place = (begun.conversation_id, begun.message_id)
    if outcome.state == AnswerState.CANCELLED:
        return Cancelled(session_id, *place, outcome.text)
    failure = generation.failure
    if failure is None or failure.code != outcome.error_code:
        # What is stored is not what the provider has said.
        failure = refusal(outcome.error_code, retry_after=_RETRY_AFTER_S)
    return Failed(session_id, failure, outcome.text, *place)
