"""The use case: one turn in, its stream of events out.

Socket.IO and REST consume the same generator. A turn that is refused raises before
its first event. A turn that has begun is in the database before its provider is
called, yields `Started`, then a `Token` for each piece of text, and then exactly one
`Done`, `Failed` or `Cancelled`, by which time its end is stored. A consumer that goes
away closes the generator, which cancels the turn and stores that as well. A server
that stops fails what it cannot wait for, and stores it as interrupted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

from django.db import InterfaceError, OperationalError

from llmchat.access.catalogue import Route
from llmchat.answers import checkpoints, runtime, streams
from llmchat.answers.events import (
    Cancelled,
    Done,
    End,
    Failed,
    Started,
    StreamEvent,
    Token,
)
from llmchat.answers.streams import LiveStream
from llmchat.books.turn import Turn
from llmchat.books.turns import Begun, Ending, begin_turn, end_turn
from llmchat.database import in_database
from llmchat.errors import ChatError, from_provider, refusal
from llmchat.models import AnswerState, Message
from llmchat.providers.answer import estimate_input_tokens
from llmchat.providers.errors import (
    KeyRefusedError,
    ModelNotFoundError,
    ProviderError,
)
from llmchat.providers.types import (
    Chat,
    Event,
    Finished,
    Key,
    Provider,
    Timeouts,
    Usage,
)

logger = logging.getLogger(__name__)

# A client waits no longer than this for its end to be stored; storing goes on.
_STORE_S = 5.0
_RETRY_AFTER_S = 5
# The ends that are being stored, and whose they are.
_storing: WeakKeyDictionary[asyncio.Task[None], int] = WeakKeyDictionary()
_State = Message.State
# Failures that say nothing against the request itself: another provider may do.
_FALLBACK_HELPS = frozenset(
    {
        "provider_error",
        "provider_auth",
        "provider_quota",
        "provider_rate_limited",
        "provider_unavailable",
        "provider_timeout",
        "empty_answer",
        "local_model_missing",
    }
)


@dataclass(slots=True)
class _Answer:
    """What is known of an answer besides its text, until its end is decided.

    `billed` is what the provider has counted of attempts that failed, `before` what
    the first provider had when the fallback was asked. `is_counted` says that the
    text is part of it.
    """

    turn: Turn
    begun: Begun
    finished: Finished | None = None
    error: ChatError | None = None
    refused: dict[str, str] = field(default_factory=dict)
    fell_back: bool = False
    billed: Usage | None = None
    before: Usage | None = None
    is_counted: bool = False
    attempts: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def route(self) -> Route:
        fallback = self.begun.route.fallback
        return fallback if self.fell_back and fallback else self.begun.route

    @property
    def model(self) -> str:
        return self.route.default_model if self.fell_back else self.begun.model

    @property
    def timeouts(self) -> Timeouts:
        """The limits, less the time that the first provider has used up."""
        limits = runtime.timeouts()
        if not self.fell_back:
            return limits
        spent = time.monotonic() - self.began
        left, total = limits.first_token_s - spent, limits.total_s - spent
        return replace(limits, first_token_s=left, total_s=total)

    def fall_back(self, error: ProviderError) -> bool:
        """Turn to the fallback, before any text; return False where that is no help."""
        if self.fell_back or self.begun.route.fallback is None:
            return False
        # A model that was asked for by name has no substitute.
        retired = isinstance(error, ModelNotFoundError) and self.turn.model is None
        if not retired and error.code not in _FALLBACK_HELPS:
            return False
        self.fell_back = True
        if self.timeouts.first_token_s <= 0:
            self.fell_back = False
            return False
        self.before, self.billed = self.billed, None
        return True

    def note_billed(self, usage: Usage) -> None:
        """Called with what the provider has counted of an attempt that failed."""
        self.billed = usage if self.billed is None else self.billed + usage

    @property
    def chat(self) -> Chat:
        return Chat(
            model=self.model,
            messages=self.turn.messages,
            max_output_tokens=self.turn.max_tokens,
            temperature=self.turn.temperature,
        )


async def stream_answer(
    *, turn: Turn, stream: LiveStream
) -> AsyncGenerator[StreamEvent, None]:
    """Answer the turn of the user whose registered stream this is, and release it.

    Raises: ChatError, before the first event only.
    """
    begun: Begun | None = None
    stored = False
    try:
        begun = await _begin(turn, stream)
        answer = _Answer(turn, begun)
        yield Started(
            session_id=turn.session_id,
            provider=turn.provider,
            model=begun.model,
            conversation_id=begun.conversation_id,
            message_id=begun.message_id,
        )
        async with aclosing(_tokens(stream, answer)) as tokens:
            async for token in tokens:
                yield token
        stream.ending = stored = True
        ending = _ending(stream, answer)
        await _store(begun, ending)
        # Whoever hears of the end may use the name again.
        streams.release(stream)
        yield _end(answer, ending)
    finally:
        if begun is not None and not stored:
            # The consumer has gone away.
            stream.ending = stream.cancelled = True
            await _store(begun, _ending(stream, answer))
        streams.release(stream)


def cancel_stream(*, user_id: int, session_id: str) -> LiveStream | None:
    """Cancel the user's running stream and return it; None where it is too late.

    One that is cancelled already is returned as long as its end is not told.

    The provider's connection is closed at once; `Cancelled` follows from the stream.
    """
    stream = streams.find(user_id, session_id)
    if stream is None:
        return None
    return stream if stream.cancel() or stream.cancelled else None


async def _begin(turn: Turn, stream: LiveStream) -> Begun:
    if runtime.get().closing:
        raise refusal("draining", retry_after=runtime.DRAINING_RETRY_S)
    await _wait_for_ends(stream.user_id)
    beginning = runtime.get().spawn(in_database(begin_turn, stream.user_id, turn))
    try:
        begun: Begun = await asyncio.shield(beginning)
        stream.begun = begun
    except (OperationalError, InterfaceError) as exc:
        raise refusal("database_unavailable", retry_after=_RETRY_AFTER_S) from exc
    except asyncio.CancelledError:
        # The consumer has gone away; what is being stored gets its end all the same.
        runtime.get().spawn(_abandon(turn, stream, beginning))
        raise
    checkpoints.ensure_running()
    return begun


async def _abandon(
    turn: Turn, stream: LiveStream, beginning: asyncio.Task[Begun]
) -> None:
    try:
        begun = await beginning
    except (ChatError, OperationalError, InterfaceError):
        return
    stream.ending = stream.cancelled = True
    await _store(begun, _ending(stream, _Answer(turn, begun)))


async def _tokens(stream: LiveStream, answer: _Answer) -> AsyncGenerator[Token, None]:
    """Yield the provider's text; leave in `answer` how it ended."""
    session_id = stream.session_id
    try:
        if stream.cancelled:
            return
        while True:
            stream.wait_begins()
            try:
                events = stream.events = await _provider_events(answer)
                async for event in events:
                    stream.wait_ends()
                    if isinstance(event, Finished):
                        stream.ending = True
                        answer.finished = event
                        continue
                    stream.add(event.text)
                    yield Token(session_id, event.text)
                    if stream.cancelled:
                        return
                    stream.wait_begins()
                return
            except ProviderError as exc:
                answer.attempts += exc.attempts
                answer.is_counted = bool(stream.parts) and exc.usage is not None
                if stream.parts or stream.cancelled or not answer.fall_back(exc):
                    raise
                name = answer.begun.route.provider.name
                logger.warning("%s failed, its fallback is asked: %s", name, exc)
    except asyncio.CancelledError:
        if not stream.absorb_cancellation():
            raise
    except ProviderError as exc:
        logger.warning("%s failed: %s", answer.route.provider.name, exc)
        _fail(stream, answer, from_provider(exc))
    except Exception:
        # Whatever it is, the client is owed an end.
        logger.exception("a stream of %s broke", answer.route.provider.name)
        _fail(stream, answer, refusal("internal_error"))
    finally:
        stream.wait_ends()
        await stream.close()


def _fail(stream: LiveStream, answer: _Answer, error: ChatError) -> None:
    # The cancellation may have come while the failure was on its way.
    stream.absorb_cancellation()
    stream.ending = True
    answer.error = error


async def _reachable(route: Route) -> Provider:
    """Return the provider with its address, starting the model on this machine.

    Raises: ProviderError.
    """
    if not route.embedded:
        return route.provider
    base_url = await runtime.get().local_model.base_url()
    return route.at(base_url)


async def _provider_events(answer: _Answer) -> AsyncGenerator[Event, None]:
    """Return the stream of the provider whose turn it is, not begun yet.

    Raises: ProviderError.
    """
    provider = await _reachable(answer.route)

    def on_key_refused(key: Key, exc: KeyRefusedError) -> None:
        answer.refused[key.ident] = exc.code if exc.blames_key else ""

    return runtime.get().client.stream_chat(
        provider,
        answer.route.keys,
        answer.chat,
        timeouts=answer.timeouts,
        on_key_refused=on_key_refused,
        on_billed=answer.note_billed,
    )


def _ending(stream: LiveStream, answer: _Answer) -> Ending:
    """Return how the answer ended: whole, or else cut off, or else failed."""
    finished = answer.finished
    if finished is not None:
        state, code = _State.COMPLETE, ""
        reason = finished.reason.value
    else:
        if stream.interruption is not None:
            answer.error = stream.interruption
            state, reason, code = _State.INTERRUPTED, "error", answer.error.code
        elif stream.cancelled:
            state, reason, code = _State.CANCELLED, "cancelled", ""
        else:
            answer.error = answer.error or refusal("internal_error")
            state, reason, code = _State.ERROR, "error", answer.error.code
    return Ending(
        state=state,
        text=stream.text,
        usage=_usage(stream, answer, state),
        model=(finished and finished.model) or answer.model,
        finish_reason=reason,
        error_code=code,
        attempts=max(1, answer.attempts + (finished.attempts if finished else 0)),
        first_token_at=stream.first_token_at,
        refused=answer.refused,
        fell_back=answer.fell_back,
        before=answer.before,
    )


def _usage(stream: LiveStream, answer: _Answer, state: AnswerState) -> Usage:
    """Return what is billed for all attempts at the provider that was asked last."""
    if answer.finished is not None:
        usage = answer.finished.usage
    elif state == _State.CANCELLED or (stream.parts and not answer.is_counted):
        inputs = estimate_input_tokens(answer.chat)
        usage = Usage(inputs, len(stream.parts), "estimated")
    elif answer.billed is not None:
        return answer.billed
    else:
        usage = Usage(0, 0, "estimated")  # nobody bills for a refusal
    return usage if answer.billed is None else usage + answer.billed


def _end(answer: _Answer, ending: Ending) -> End:
    """Return the event that tells the client of the ending."""
    turn, begun = answer.turn, answer.begun
    if ending.state == _State.COMPLETE:
        return Done(
            session_id=turn.session_id,
            provider=answer.route.provider.name,
            model=ending.model,
            conversation_id=begun.conversation_id,
            message_id=begun.message_id,
            text=ending.text,
            finish_reason=ending.finish_reason,
            usage=ending.usage,
        )
    place = (begun.conversation_id, begun.message_id)
    if ending.state == _State.CANCELLED or answer.error is None:
        return Cancelled(turn.session_id, *place, ending.text)
    return Failed(turn.session_id, answer.error, ending.text, *place)


async def _store(begun: Begun, ending: Ending) -> None:
    """Store the end; no cancellation and no slow database keeps it from that."""
    storing = runtime.get().spawn(_store_now(begun, ending))
    _storing[storing] = begun.user_id
    await asyncio.wait([storing], timeout=_STORE_S)


async def _wait_for_ends(user_id: int) -> None:
    """Wait until all that the user was told of is stored, for the turn to go on with.

    Raises: ChatError `database_unavailable`.
    """
    loop = asyncio.get_running_loop()
    ends = [
        task
        for task, owner in _storing.items()
        if owner == user_id and not task.done() and task.get_loop() is loop
    ]
    late = (await asyncio.wait(ends, timeout=_STORE_S))[1] if ends else ()
    if late or checkpoints.owes(user_id):
        raise refusal("database_unavailable", retry_after=_RETRY_AFTER_S)


async def _store_now(begun: Begun, ending: Ending) -> None:
    try:
        await in_database(end_turn, begun, ending)
    except (OperationalError, InterfaceError) as exc:
        logger.error("an end is not stored yet: %s", exc)
        checkpoints.save_later(begun, ending)
    except Exception:
        logger.exception("an end cannot be stored")
