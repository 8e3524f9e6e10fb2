"""What operators learn about a turn and its calls to providers: counts and traces.

A turn is one span, and each provider that it asks is a child span, named by the
OpenTelemetry conventions for generative AI. Retries at the same provider are one call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from llmchat import metrics, tracing
from llmchat.books.turn import Begun, Turn
from llmchat.providers.errors import ProviderError
from llmchat.providers.request import max_tokens
from llmchat.providers.types import Chat, Finished, Provider, Usage
from llmchat.tracing import NOTHING, Span

_OPERATION = "chat"
# The conventions' names for the protocols. Providers that speak OpenAI's protocol use
# their own name.
_NAMES = {"claude": "anthropic", "gemini": "gcp.gemini", "deepseek": "deepseek"}


def turn_began(turn: Turn, user_id: int) -> Span:
    """Begin the span of a turn."""
    attributes = {"user.id": str(user_id), "session.id": turn.session_id}
    return tracing.begin("llmchat.turn", attributes)


def turn_stored(span: Span, begun: Begun) -> None:
    """Note where the turn is stored."""
    span.note(
        {
            "gen_ai.conversation.id": str(begun.conversation_id),
            "llmchat.message.id": str(begun.message_id),
        }
    )


def turn_ended(span: Span, state: str, error: str, first_token_s: float | None) -> None:
    """End the span of a turn; `error` is the code that its client is sent."""
    span.note({"llmchat.state": state, "llmchat.first_token_s": first_token_s})
    span.end(error)


class ProviderCall:
    """A call to one provider; `billed` returns the usage of its failed attempts."""

    def __init__(self, provider: Provider, billed: Callable[[], Usage | None]) -> None:
        self._provider = provider
        self._billed = billed
        self._span = NOTHING

    def begin(self, turn: Span, chat: Chat) -> None:
        """Begin the span of the call, as a child of the turn's span."""
        if turn is not NOTHING:
            attributes = _asked(self._provider, chat)
            self._span = turn.child(f"{_OPERATION} {chat.model}", attributes)

    async def watch(self, asking: Awaitable[Finished]) -> Finished:
        """Return the result of `asking`, and record how the call went.

        Raises: ProviderError, as `asking` does.
        """
        try:
            finished = await asking
        except BaseException as exc:
            code = _code_of(exc)
            if isinstance(exc, ProviderError):
                metrics.note_failure(self._provider.name, code)
            self._end(self._billed(), code)
            raise
        self._span.note(_answered(finished))
        before = self._billed()
        self._end(before + finished.usage if before else finished.usage)
        return finished

    def _end(self, usage: Usage | None, error: str = "") -> None:
        if usage is not None:
            self._span.note(
                {
                    "gen_ai.usage.input_tokens": usage.input_tokens,
                    "gen_ai.usage.output_tokens": usage.output_tokens,
                }
            )
        self._span.end(error)


def _asked(provider: Provider, chat: Chat) -> tracing.Attributes:
    return {
        "gen_ai.operation.name": _OPERATION,
        "gen_ai.provider.name": _NAMES.get(provider.protocol, provider.name),
        "gen_ai.request.model": chat.model,
        "gen_ai.request.max_tokens": max_tokens(provider, chat),
        "gen_ai.request.temperature": chat.temperature,
        "server.address": urlsplit(provider.base_url).hostname,
    }


def _answered(finished: Finished) -> tracing.Attributes:
    return {
        "gen_ai.response.model": finished.model or None,
        "gen_ai.response.finish_reasons": (finished.reason.value,),
    }


def _code_of(exc: BaseException) -> str:
    if isinstance(exc, ProviderError):
        return exc.code
    return "cancelled" if isinstance(exc, asyncio.CancelledError) else "internal_error"
