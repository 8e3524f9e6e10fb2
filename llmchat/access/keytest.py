"""Tests of providers and keys: the smallest real request, and its outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from asgiref.sync import async_to_sync
from django.utils import timezone

from llmchat import database, models
from llmchat.access import catalogue, keys, problems
from llmchat.models.encryption import EncryptionError
from llmchat.providers.client import ProviderClient
from llmchat.providers.errors import (
    EmptyAnswerError,
    KeyRefusedError,
    ProviderAuthError,
    ProviderError,
)
from llmchat.providers.local import find_weights
from llmchat.providers.text import without_key
from llmchat.providers.types import (
    Chat,
    ChatMessage,
    Finished,
    Key,
    Provider,
    Timeouts,
)

# Short, because an operator waits. Retries are included.
_TIMEOUTS = Timeouts(connect_s=5, first_token_s=20, idle_s=20, total_s=30)
# Every model accepts this limit, and the answer is short.
_MAX_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome in words; `works` is None if something other than the key failed."""

    works: bool | None
    text: str


@dataclass(frozen=True, slots=True)
class _Case:
    """A test, and the keys that were refused in it (ident to code, "": not blamed).

    `one_key`: the test is about this key alone, which may be one of several keys of
    the provider, or not in use at all.
    """

    row: models.Provider
    provider: Provider
    keys: tuple[Key, ...]
    one_key: bool = False
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The default model, by the name that requests use."""
        return self.row.canonical(self.row.default_model)

    def on_key_refused(self, key: Key, exc: KeyRefusedError) -> None:
        self.refused[key.ident] = exc.code if exc.blames_key else ""


def try_key(key: models.ProviderKey) -> Trial:
    """Send the key's provider a short request, and note the outcome."""
    try:
        secret = keys.stored_key(key)
    except EncryptionError as exc:
        advice = problems.problem("unreadable_key").advice
        return Trial(False, f"The stored key cannot be read: {exc}. {advice}")
    row = key.provider
    return _try([_Case(row, catalogue.value_of(row), (secret,), one_key=True)])[0]


def try_providers(rows: Sequence[models.Provider]) -> list[Trial]:
    """Send each provider a short request with its keys, concurrently."""
    return _try(
        [_Case(row, catalogue.value_of(row), keys.ring(row).keys) for row in rows]
    )


def _try(cases: Sequence[_Case]) -> list[Trial]:
    with database.paused():  # the operator's request has five seconds for the database
        outcomes = async_to_sync(_ask_all)(cases)
    return [
        _noted(case, code, text)
        for case, (code, text) in zip(cases, outcomes, strict=True)
    ]


def _noted(case: _Case, code: str, text: str) -> Trial:
    """Store the outcome, on the keys and on the provider."""
    keys.note(case.keys, case.refused, worked=not code)
    if not (case.one_key and code in problems.OF_KEYS):
        models.Provider.objects.filter(pk=case.row.pk).update(
            tested_at=timezone.now(), test_problem=code
        )
    blamed = [key for key in case.keys if case.refused.get(key.ident)]
    if code:
        return Trial(False if blamed else None, text)
    if blamed:
        count = f"{len(blamed)} of {len(case.keys)} keys"
        return Trial(None, f"{text} However, the provider refused {count}.")
    return Trial(True, text)


async def _ask_all(cases: Sequence[_Case]) -> list[tuple[str, str]]:
    return await asyncio.gather(*map(_ask, cases))


async def _ask(case: _Case) -> tuple[str, str]:
    """Return the code of what failed ("" if nothing did), and the words for it."""
    if case.row.embedded:
        return _ask_for_weights(case)
    provider, model = case.provider, case.model
    code = _missing(case)
    if code:
        return code, problems.in_words(code, provider, model)
    began = time.perf_counter()
    try:
        model = await _answering_model(case)
    except ProviderError as exc:
        code = problems.code_of(exc)
        if isinstance(exc, ProviderAuthError) and not case.keys:
            code = "key_wanted"
        detail = exc.log_detail
        for key in case.keys:
            detail = without_key(detail, key.value)
        return code, problems.in_words(code, provider, model, detail)
    took_ms = round((time.perf_counter() - began) * 1000)
    return "", f"Works: {model} answered in {took_ms:,} ms."


async def _answering_model(case: _Case) -> str:
    """Send the request; return the name of the model that answered.

    It takes a new client each time, because the event loop may be a different one.

    Raises:
        ProviderError: there is no answer.
    """
    model = case.model
    chat = Chat(model, (ChatMessage("user", "Hi"),), max_output_tokens=_MAX_TOKENS)
    client = ProviderClient(_TIMEOUTS)
    try:
        events = client.stream_chat(
            case.provider, case.keys, chat, on_key_refused=case.on_key_refused
        )
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Finished):
                    return event.model or model
    except EmptyAnswerError:
        pass  # thinking may take all the tokens
    finally:
        await client.aclose()
    return model


def _missing(case: _Case) -> str:
    if not case.provider.base_url:
        return "no_address"
    return "no_key" if case.provider.needs_key and not case.keys else ""


def _ask_for_weights(case: _Case) -> tuple[str, str]:
    """Look for the built-in model without starting it, which would take a while."""
    try:
        find_weights()
    except ProviderError as exc:
        return exc.code, problems.in_words(exc.code, case.provider, "")
    return "", "The built-in model is installed. It starts with the first question."
