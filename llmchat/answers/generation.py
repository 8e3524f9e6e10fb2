"""One answer while providers write it: the fallback, what is billed, how it ended."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace

from llmchat.access.catalogue import Route
from llmchat.answers import runtime
from llmchat.answers.events import Token
from llmchat.answers.streams import LiveStream
from llmchat.books.turn import Begun, Outcome, Turn
from llmchat.errors import ChatError, from_provider, refusal
from llmchat.models import AnswerState
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
class Generation:
    """What is known of an answer besides its text, until its outcome is decided.

    `billed` is what the provider has counted of attempts that did not finish, `before`
    what the first provider had when the fallback was asked. `is_counted` says that the
    last attempt is part of it, `is_asked` that a provider was asked at all.
    """

    turn: Turn
    begun: Begun
    stream: LiveStream
    finished: Finished | None = None
    error: ChatError | None = None
    refused: dict[str, str] = field(default_factory=dict)
    fell_back: bool = False
    billed: Usage | None = None
    before: Usage | None = None
    is_counted: bool = False
    is_asked: bool = False
    attempts: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def route(self) -> Route:
        """Where the answer comes from."""
        fallback = self.begun.route.fallback
        return fallback if self.fell_back and fallback else self.begun.route

    @property
    def failure(self) -> ChatError | None:
        """Why the answer is not whole; None where it is, or was cancelled."""
        if self.finished is not None:
            return None
        if self.stream.interruption is not None:
            return self.stream.interruption
        if self.stream.cancelled:
            return None
        return self.error or refusal("internal_error")

    async def tokens(self) -> AsyncGenerator[Token, None]:
        """Yield the provider's text, asking the fallback where that helps."""
        stream, session_id = self.stream, self.turn.session_id
        try:
            while not stream.cancelled:
                stream.wait_begins()
                try:
                    events = stream.events = await self._events()
                    self.is_asked = True
                    async for event in events:
                        stream.wait_ends()
                        if isinstance(event, Finished):
                            stream.ending = True
                            self.finished = event
                            continue
                        stream.add(event.text)
                        yield Token(session_id, event.text)
                        if stream.cancelled:
                            return
                        stream.wait_begins()
                    return
                except ProviderError as exc:
                    self._fall_back(exc)
        except asyncio.CancelledError:
            if not stream.absorb_cancellation():
                raise
        except ProviderError as exc:
            logger.warning("%s failed: %s", self.route.provider.name, exc)
            self._fail(from_provider(exc))
        except Exception:
            # Whatever it is, the client gets an end.
            logger.exception("a stream of %s broke", self.route.provider.name)
            self._fail(refusal("internal_error"))
        finally:
            stream.wait_ends()
            await stream.close()

    def outcome(self) -> Outcome:
        """Return what became of the answer: whole, or else cut off, or else failed."""
        finished, failure = self.finished, self.failure
        if finished is not None:
            state, reason = AnswerState.COMPLETE, finished.reason.value
        elif failure is None:
            state, reason = AnswerState.CANCELLED, "cancelled"
        elif failure is self.stream.interruption:
            state, reason = AnswerState.INTERRUPTED, "error"
        else:
            state, reason = AnswerState.ERROR, "error"
        return Outcome(
            state=state,
            text=self.stream.text,
            usage=self._usage(),
            model=(finished and finished.model) or self._model,
            finish_reason=reason,
            error_code=failure.code if failure else "",
            attempts=max(1, self.attempts + (finished.attempts if finished else 0)),
            first_token_at=self.stream.first_token_at,
            refused=self.refused,
            fell_back=self.fell_back,
            before=self.before,
        )

    @property
    def _model(self) -> str:
        return self.route.default_model if self.fell_back else self.begun.model

    @property
    def _chat(self) -> Chat:
        return Chat(
            model=self._model,
            messages=self.turn.messages,
            max_output_tokens=self.begun.max_output_tokens,
            temperature=self.turn.temperature,
        )

    @property
    def _timeouts(self) -> Timeouts:
        """The limits, less the time that the first provider has used up."""
        limits = runtime.timeouts()
        if not self.fell_back:
            return limits
        spent = time.monotonic() - self.began
        left, total = limits.first_token_s - spent, limits.total_s - spent
        return replace(limits, first_token_s=left, total_s=total)

    async def _events(self) -> AsyncGenerator[Event, None]:
        """Return the stream of the provider whose turn it is, not begun yet.

        Raises: ProviderError.
        """
        provider = await _reachable(self.route)
        return runtime.get().client.stream_chat(
            provider,
            self.route.keys,
            self._chat,
            timeouts=self._timeouts,
            on_key_refused=self._note_refused,
            on_billed=self._note_billed,
        )

    def _note_refused(self, key: Key, exc: KeyRefusedError) -> None:
        self.refused[key.ident] = exc.code if exc.blames_key else ""

    def _note_billed(self, usage: Usage) -> None:
        """Called with what the provider has counted of an attempt that did not finish.

        One that has given text, or that is being cancelled, is the last.
        """
        self.billed = usage if self.billed is None else self.billed + usage
        task = asyncio.current_task()
        is_left = task is not None and task.cancelling() > 0
        self.is_counted = bool(self.stream.parts) or self.stream.cancelled or is_left

    def _fall_back(self, exc: ProviderError) -> None:
        """Turn to the fallback, before any text.

        Raises: ProviderError, `exc` itself where a fallback is no help.
        """
        self.attempts += exc.attempts
        if self.stream.parts or self.stream.cancelled or not self._may_fall_back(exc):
            raise exc
        self.fell_back = True
        if self._timeouts.first_token_s <= 0:
            self.fell_back = False
            raise exc
        self.before, self.billed = self.billed, None
        name = self.begun.route.provider.name
        logger.warning("%s failed, its fallback is asked: %s", name, exc)

    def _may_fall_back(self, exc: ProviderError) -> bool:
        if self.fell_back or self.begun.route.fallback is None:
            return False
        # A model that was asked for by name has no substitute.
        retired = isinstance(exc, ModelNotFoundError) and self.turn.model is None
        return retired or exc.code in _FALLBACK_HELPS

    def _fail(self, error: ChatError) -> None:
        # The cancellation may have come while the failure was on its way.
        self.stream.absorb_cancellation()
        self.stream.ending = True
        self.error = error

    def _usage(self) -> Usage:
        """Return what all attempts at the provider that was asked last are billed."""
        if self.finished is not None:
            usage = self.finished.usage
        elif self._is_billed_uncounted:
            usage = self._estimate()
        else:
            # Nobody bills for a refusal.
            return self.billed or Usage(0, 0, "estimated")
        return usage if self.billed is None else usage + self.billed

    @property
    def _is_billed_uncounted(self) -> bool:
        """Whether the last attempt was broken off before its provider counted it."""
        was_going = bool(self.stream.parts) or self.stream.cancelled
        return was_going and self.is_asked and not self.is_counted

    def _estimate(self) -> Usage:
        """Guess what a provider bills; its pieces may be tokens or whole sentences."""
        stream = self.stream
        outputs = max(len(stream.parts), _estimate_tokens(stream.text))
        return Usage(estimate_input_tokens(self._chat), outputs, "estimated")


def _estimate_tokens(text: str) -> int:
    """Guess the tokens of a text, of English about four characters each."""
    return math.ceil(len(text) / 4)


async def _reachable(route: Route) -> Provider:
    """Return the provider with its address, starting the model on this machine.

    Raises: ProviderError.
    """
    if not route.embedded:
        return route.provider
    base_url = await runtime.get().local_model.base_url()
    return route.at(base_url)
