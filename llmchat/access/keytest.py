"""Test of a provider's key: the smallest real request, and its outcome."""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import dataclass

from asgiref.sync import async_to_sync

from llmchat import models
from llmchat.access import catalogue, keys
from llmchat.models.encryption import EncryptionError
from llmchat.providers.client import ProviderClient
from llmchat.providers.errors import EmptyAnswerError, KeyRefusedError, ProviderError
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


def try_key(key: models.ProviderKey) -> Trial:
    """Send the key's provider a short request, and note the outcome on the key."""
    try:
        provider, secret = catalogue.trial(key)
    except EncryptionError as exc:
        return Trial(False, f"The stored key cannot be read: {exc}.")
    refused: dict[str, str] = {}
    trial = async_to_sync(_ask)(provider, secret, key.provider.default_model, refused)
    if trial.works is not None:
        keys.note((secret,), refused, worked=trial.works)
    return trial


async def _ask(
    provider: Provider, key: Key, model: str, refused: dict[str, str]
) -> Trial:
    """Send the request, with a new client because the event loop may be another."""

    def on_key_refused(key: Key, exc: KeyRefusedError) -> None:
        if exc.blames_key:
            refused[key.ident] = exc.code

    chat = Chat(model, (ChatMessage("user", "Hi"),), max_output_tokens=_MAX_TOKENS)
    client = ProviderClient(_TIMEOUTS)
    began = time.perf_counter()
    try:
        events = client.stream_chat(
            provider, [key], chat, on_key_refused=on_key_refused
        )
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Finished):
                    model = event.model or model
    except EmptyAnswerError:
        pass  # thinking may take all the tokens
    except ProviderError as exc:
        return Trial(False if refused else None, _in_words(exc))
    finally:
        await client.aclose()
    took_ms = round((time.perf_counter() - began) * 1000)
    return Trial(True, f"Works: {model} answered in {took_ms} ms.")


def _in_words(exc: ProviderError) -> str:
    detail = f" ({exc.log_detail})" if exc.log_detail else ""
    return f"{exc.text.rstrip('.')}{detail}."
