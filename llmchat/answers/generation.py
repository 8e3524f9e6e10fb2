"""One answer while providers write it: which is asked, what is billed, how it ends.

`outcome` is the one place that decides this: it asks the routes, appends their text to
the stream, and returns the outcome, whatever happens.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from functools import partial

from llmchat.access.catalogue import Route
from llmchat.answers import asking, calls, runtime
from llmchat.answers.bill import UsageBill
from llmchat.answers.live_stream import LiveStream
from llmchat.books.turn import Begun, Outcome, Turn
from llmchat.errors import ChatError, from_provider, refusal
from llmchat.models import AnswerState
from llmchat.providers.errors import (
    KeyRefusedError,
    ModelNotFoundError,
    ProviderError,
)
from llmchat.providers.types import (
    NOBODY,
    Answerer,
    Batch,
    Chat,
    Finished,
    Key,
    Timeouts,
    Usage,
)
from llmchat.tracing import NOTHING, Span

logger = logging.getLogger(__name__)

# Failures that the request did not cause: another provider may succeed.
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
    """What is known about an answer besides its text.

    `failure` is why the answer is incomplete; None if it is complete or was cancelled.
    `answerer` is the model that answered, as the provider asked last names it.
    `reasons` are the causes for operators: a provider's failure, then its fallback's.
    """

    turn: Turn
    begun: Begun
    stream: LiveStream
    failure: ChatError | None = None
    reasons: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    bill: UsageBill = field(default_factory=UsageBill)
    fell_back: bool = False
    attempts: int = 0
    answerer: Answerer = NOBODY
    began: float = field(default_factory=time.monotonic)
    span: Span = NOTHING

    @property
    def route(self) -> Route:
        """The route that the answer comes from."""
        return self.begun.answered_by(fell_back=self.fell_back)

    async def outcome(self) -> Outcome:
        """Ask for the answer and return its outcome."""
        stream, name = self.stream, self.begun.route.provider.name
        finished: Finished | None = None
        error: ChatError | None = None
        try:
            stream.ask_begins()
            finished = await self._ask()
        except asyncio.CancelledError:
            stream.cancelled = True
        except ProviderError as exc:
            logger.warning("%s failed: %s", self.route.provider.name, exc)
            self.reasons.append(f"{self.route.provider.name}: {exc}")
            error = from_provider(exc)
        except Exception as exc:
            # Whatever it is, the client gets an end.
            logger.exception("a stream from %s failed", name)
            # Its message may contain anything, so it is left out.
            self.reasons.append(f"{type(exc).__name__}; the traceback is in the log")
            error = refusal("internal_error")
        finally:
            stream.ask_ends()
        if finished is not None:
            return self._whole(finished)
        if stream.interruption is not None:
            return self.broken_off(AnswerState.INTERRUPTED, stream.interruption)
        if stream.cancelled:
            return self.broken_off(AnswerState.CANCELLED, None)
        return self.broken_off(AnswerState.ERROR, error)

    # Asking.

    async def _ask(self) -> Finished:
        """Ask one route after another; return the end of the one that answered.

        Raises: ProviderError.
        """
        while True:
            try:
                route = self.route
                call = calls.ProviderCall(route.provider, partial(self.bill.of, route))
                call.begin(self.span, self._chat)
                return await call.watch(self._ask_route())
            except ProviderError as exc:
                self._fall_back(exc)

    async def _ask_route(self) -> Finished:
        """Append what the current route's provider writes; return its end.

        Raises: ProviderError.
        """
        stream, finished = self.stream, None
        batches = await self._batches()
        try:
            async for batch in batches:
                if isinstance(batch, Finished):
                    # The answer is complete: it is too late to cancel it.
                    finished, stream.ending = batch, True
                    continue
                for texts in stream.portions(batch):
                    stream.append(texts)
                    if stream.lags:
                        await stream.caught_up()
        finally:
            await asking.close(batches)
        if finished is None:
            raise RuntimeError("a provider's stream ended without its last event")
        return finished

    async def _batches(self) -> AsyncGenerator[Batch, None]:
        """Return the stream of the current route's provider, not begun yet.

        Raises: ProviderError.
        """
        provider = await asking.reachable(self.route)
        return runtime.get().client.stream_chat_batches(
            provider,
            self.route.keys,
            self._chat,
            timeouts=self._timeouts,
            on_key_refused=self._note_refused,
            on_billed=self._note_billed,
            on_cut=self._note_cut,
            on_answered=self._note_answered,
            on_asking=self.bill.note_asking,
        )

    @property
    def _chat(self) -> Chat:
        return Chat(
            model=self.route.model,
            messages=self.turn.messages,
            max_output_tokens=self.turn.max_tokens,
            temperature=self.turn.temperature,
            options=self.turn.options,
        )

    @property
    def _timeouts(self) -> Timeouts:
        """The limits, less the time that the first provider has used."""
        limits = runtime.timeouts()
        if not self.fell_back:
            return limits
        spent = time.monotonic() - self.began
        left, total = limits.first_token_s - spent, limits.total_s - spent
        return replace(limits, first_token_s=left, total_s=total)

    def _fall_back(self, exc: ProviderError) -> None:
        """Switch to the fallback, which is possible only before any text.

        Raises: ProviderError: `exc` itself, if a fallback is no help.
        """
        self.attempts += exc.attempts
        if self.stream.parts or self.stream.cancelled or not self._may_fall_back(exc):
            raise exc
        self.fell_back, self.answerer = True, NOBODY
        if self._timeouts.first_token_s <= 0:
            self.fell_back = False
            raise exc
        name = self.begun.route.provider.name
        logger.warning("%s failed, trying its fallback: %s", name, exc)
        self.reasons.append(f"{name}: {exc}")

    def _may_fall_back(self, exc: ProviderError) -> bool:
        if self.fell_back or self.begun.route.fallback is None:
            return False
        # A model that was asked for by name has no substitute.
        retired = isinstance(exc, ModelNotFoundError) and self.turn.model is None
        return retired or exc.code in _FALLBACK_HELPS

    def _note_refused(self, key: Key, exc: KeyRefusedError) -> None:
        self.refused[key.ident] = exc.code if exc.blames_key else ""
        if exc.blames_key:
            runtime.get().refusals.note(key, exc.code)

    def _note_answered(self, answerer: Answerer) -> None:
        self.answerer = answerer

    # The bill.

    def _note_billed(self, usage: Usage) -> None:
        """Called with the usage of an attempt that failed.

        An attempt that has given text, or that is being cancelled, is the last.
        """
        is_last = bool(self.stream.parts) or self.stream.cancelled
        self.bill.add(self.route, usage, is_last=is_last)

    def _note_cut(self, usage: Usage) -> None:
        """Called with the usage of the attempt that was broken off."""
        self.bill.add(self.route, usage)

    def _add_estimate(self) -> None:
        """Bill the last attempt if it was broken off before its provider counted it."""
        stream = self.stream
        was_going = stream.cancelled and self.bill.is_asked
        if stream.parts or was_going:
            self.bill.add_estimate(
                self.route, self._chat, pieces=len(stream.parts), chars=stream.chars
            )

    # The outcome.

    def _whole(self, finished: Finished) -> Outcome:
        self.bill.add(self.route, finished.usage)
        self.attempts += finished.attempts
        model = finished.model or self.route.model
        reason = finished.reason.value
        outcome = self._outcome(AnswerState.COMPLETE, reason, "", model)
        calls = finished.tool_calls
        self.stream.call_chars = sum(len(call.arguments) for call in calls)
        return replace(outcome, tool_calls=calls)

    def broken_off(self, state: AnswerState, error: ChatError | None) -> Outcome:
        """Return the outcome of an answer that is incomplete."""
        self.failure = error
        self._add_estimate()
        reason = "cancelled" if error is None else "error"
        code = error.code if error is not None else ""
        if code == "content_filtered":
            self.bill.add_refusal(self.route)
        return self._outcome(state, reason, code, self.route.model)

    @property
    def _why(self) -> str:
        """Why the answer is incomplete, for operators."""
        return "; ".join(self.reasons) or (self.failure.text if self.failure else "")

    def _outcome(
        self, state: AnswerState, reason: str, error_code: str, model: str
    ) -> Outcome:
        first = self.begun.route if self.fell_back else None
        return Outcome(
            state=state,
            text=self.stream.text,
            # No provider bills for a refusal.
            usage=self.bill.of(self.route) or Usage(0, 0, "estimated"),
            model=model,
            finish_reason=reason,
            error_code=error_code,
            error_detail=self._why if error_code else "",
            attempts=max(1, self.attempts),
            first_token_at=self.stream.first_token_at,
            refused=self.refused,
            fell_back=self.fell_back,
            before=self.bill.of(first),
            answerer=self.answerer,
            lines=self.bill.lines_of(self.route),
            lines_before=self.bill.lines_of(first),
        )
