"""The use case: take a turn, and write its answer for everyone who reads it.

Each answer is written by a task of its own. It is in the database before its provider
is called, and it ends exactly once. Its readers get the start, then each piece of text,
and then exactly one `Done`, `Failed` or `Cancelled`, which is stored before it is sent.
A turn that is refused has no start, only `Failed`. A server that stops interrupts the
answers that it cannot wait for.
"""

from __future__ import annotations

import logging
from uuid import UUID

from django.db import InterfaceError, OperationalError

from llmchat import log_fields, metrics
from llmchat.answers import calls, runtime
from llmchat.answers.events import Cancelled, Done, End, Failed, Started
from llmchat.answers.generation import Generation
from llmchat.answers.live_stream import LiveStream
from llmchat.answers.log import AnswerLog, too_many_readers
from llmchat.books.begin import StartUnknownError
from llmchat.books.end import booked
from llmchat.books.placed import AnswerIds, PlacedAnswer
from llmchat.books.turn import Begun, Outcome, Turn
from llmchat.errors import ChatError, refusal, unavailable
from llmchat.models import AnswerState
from llmchat.tracing import Span

logger = logging.getLogger(__name__)

_RETRY_AFTER_S = 5


def start_answer(turn: Turn, stream: LiveStream) -> None:
    """Write the answer to a turn into its registered stream, in a task of its own."""
    shared = runtime.get()
    task = shared.spawn(_write(turn, stream))
    # If the task is cancelled before its first step, its own `finally` never runs.
    task.add_done_callback(lambda _: shared.streams.release(stream))


def cancel_stream(*, user_id: int, session_id: str) -> LiveStream | None:
    """Cancel the user's running stream and return it; return None if it is too late.

    A stream that was cancelled before is returned too, until its end is sent.

    The provider's connection is closed immediately; `Cancelled` follows from the
    stream.
    """
    stream = runtime.get().streams.find(user_id, session_id)
    if stream is None:
        return None
    return stream if stream.cancel() or stream.cancelled else None


async def find_elsewhere(user_id: int, session_id: str) -> AnswerLog | None:
    """Return the user's running stream of that name if another worker writes it.

    Raises: ChatError.
    """
    shared = runtime.get()
    if shared.mailbox is None:
        return None
    return await shared.mirrors.find_running(user_id, session_id)


def is_heard(user_id: int, session_id: str) -> bool:
    """Return whether this worker knows that the user's stream is running."""
    shared = runtime.get()
    if shared.streams.find(user_id, session_id) is not None:
        return True
    return shared.mirrors.heard(user_id, session_id) is not None


async def running_streams(user_id: int) -> list[Started]:
    """Return the starts of the user's running streams, the oldest first.

    Raises: ChatError.
    """
    shared = runtime.get()
    if shared.mailbox is not None:
        return await shared.mirrors.running_of(user_id)
    streams = shared.streams.of_user(user_id)
    return [stream.started for stream in streams if stream.started is not None]


def no_stream() -> ChatError:
    """Return the refusal of a request about an answer that is not being written."""
    return refusal("stream_not_found", text="There is no such answer in progress")


async def find_stream(
    user_id: int,
    *,
    message_id: UUID | None = None,
    session_id: str | None = None,
    conversation_id: UUID | None = None,
    is_to_stop: bool = False,
) -> AnswerLog:
    """Return the user's stream with these ids that is running or has just ended.

    A stream of another worker is returned as its mirror. Callers that want to read must
    join it without delay. With `is_to_stop`, the limit on readers does not apply.

    Raises: ChatError `bad_request`, `stream_not_found`, `too_many_streams`.
    """
    if message_id is None and session_id is None and conversation_id is None:
        text = "messageId, sessionId or conversationId is required"
        raise refusal("bad_request", text=text)
    ids = AnswerIds(message_id, session_id, conversation_id)

    def is_meant(stream: LiveStream) -> bool:
        begun = stream.begun
        if begun is None:
            is_named = message_id is None and conversation_id is None
            return is_named and session_id == stream.session_id
        return ids.are_of(stream.session_id, begun.message_id, begun.conversation_id)

    shared = runtime.get()
    stream: AnswerLog | None = shared.streams.followed(user_id, is_meant)
    if stream is None or stream.end is not None:
        # An answer that has ended may have been deleted or replaced since.
        stream = await shared.mirrors.find(
            user_id, ids, stream, _written_here, is_to_stop=is_to_stop
        )
    if stream is None:
        raise no_stream()
    if stream.is_full and not is_to_stop:
        raise too_many_readers()
    return stream


def _written_here(placed: PlacedAnswer) -> LiveStream | None:
    """Return the stream of an answer begun here, even if its start is not sent yet."""

    def is_placed(stream: LiveStream) -> bool:
        if stream.begun is None:
            return stream.session_id == placed.session_id
        return stream.begun.message_id == placed.message_id

    return runtime.get().streams.followed(placed.user_id, is_placed)


async def find_answer(user_id: int, message_id: UUID) -> AnswerLog:
    """Return the user's stream of that answer, even if it ended hours ago.

    Raises: ChatError.
    """
    try:
        return await find_stream(user_id, message_id=message_id)
    except ChatError as exc:
        if exc.code != "stream_not_found":
            raise
        ended = await runtime.get().mirrors.find_ended(user_id, message_id)
        if ended is None:
            raise
        return ended


async def _write(turn: Turn, stream: LiveStream) -> None:
    """Write one answer, from its start to its end."""
    shared = runtime.get()
    span = calls.turn_began(turn, stream.user_id)
    ids = {"userId": stream.user_id, "sessionId": turn.session_id}
    log_fields.add(**ids, **span.log_fields)
    end: End = Failed(turn.session_id, refusal("internal_error"))
    try:
        begun = await _begin(turn, stream)
        log_fields.add(
            conversationId=str(begun.conversation_id), messageId=str(begun.message_id)
        )
        calls.turn_stored(span, begun)
        stream.start(begun, _started(turn, begun))
        generation = Generation(turn, begun, stream, span=span)
        outcome = await generation.outcome()
        stored = await shared.ends.store(begun, outcome)
        _count(generation, stored)
        end = _end(generation, stored)
    except ChatError as exc:
        metrics.note_refused(exc.code)
        end = Failed(turn.session_id, exc)
    except Exception:
        # Whatever it is, the client gets an end.
        logger.exception("a turn failed")
    finally:
        _end_span(span, stream, end)
        # A client that gets the end may reuse the name, so free it first.
        shared.streams.release(stream)
        stream.close(end)


def _count(generation: Generation, outcome: Outcome) -> None:
    metrics.note_ended(
        outcome.state,
        generation.route.provider.name,
        tokens=outcome.usage.output_tokens,
        first_token_s=generation.stream.first_token_s,
    )


def _end_span(span: Span, stream: LiveStream, end: End) -> None:
    error = end.error.code if isinstance(end, Failed) else ""
    state = type(end).__name__.lower()
    calls.turn_ended(span, state, error, stream.first_token_s)


async def _begin(turn: Turn, stream: LiveStream) -> Begun:
    """Store the start of the turn.

    Raises: ChatError.
    """
    shared = runtime.get()
    if shared.closing:
        raise refusal("draining", retry_after=runtime.DRAINING_RETRY_S)
    if not await shared.ends.settled(stream.user_id):
        raise unavailable()
    begun = await _store_start(turn, stream)
    shared.checkpoints.ensure_running()
    return begun


async def _store_start(turn: Turn, stream: LiveStream) -> Begun:
    try:
        begun = await runtime.get().books.begin(stream.user_id, turn, stream.key_id)
    except StartUnknownError as exc:
        # If the row was stored after all, no task writes its answer: end it.
        unwritten = Generation(turn, exc.begun, stream)
        failed = unwritten.broken_off(AnswerState.ERROR, exc)
        runtime.get().ends.store_later(exc.begun, failed)
        raise
    except ChatError:
        raise
    except (OperationalError, InterfaceError) as exc:
        raise unavailable() from exc
    except Exception as exc:
        logger.exception("a turn of user %s could not be started", stream.user_id)
        raise refusal("internal_error") from exc
    return begun


def _started(turn: Turn, begun: Begun) -> Started:
    return Started(
        session_id=turn.session_id,
        provider=turn.provider,
        model=begun.model,
        conversation_id=begun.conversation_id,
        message_id=begun.message_id,
        question_id=begun.question_id,
    )


def _end(generation: Generation, outcome: Outcome) -> End:
    """Return the event that reports the outcome to the client."""
    begun, session_id = generation.begun, generation.turn.session_id
    usage, billed = booked(begun, outcome)
    if outcome.state == AnswerState.COMPLETE:
        return Done(
            session_id=session_id,
            provider=generation.route.provider.name,
            model=outcome.model,
            conversation_id=begun.conversation_id,
            message_id=begun.message_id,
            question_id=begun.question_id,
            text=outcome.text,
            finish_reason=outcome.finish_reason,
            usage=usage,
            tool_calls=outcome.tool_calls,
            cost=billed.cost,
            notice=outcome.notice,
        )
    place, rest = begun.place, (usage, billed.cost, outcome.notice)
    if outcome.state == AnswerState.CANCELLED:
        return Cancelled(session_id, *place, outcome.text, *rest)
    failure = generation.failure
    if failure is None or failure.code != outcome.error_code:
        # The stored error is not the provider's.
        failure = refusal(outcome.error_code, retry_after=_RETRY_AFTER_S)
    return Failed(session_id, failure, outcome.text, *place, *rest)
