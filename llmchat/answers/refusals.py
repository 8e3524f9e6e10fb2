"""Refusals of keys by providers, noted as soon as they arrive.

That way turns that begin in the meantime avoid the key: the answer that met the refusal
may continue for minutes with another key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from django.utils import timezone

from llmchat.access import keys
from llmchat.books.turn import KeyRefusal
from llmchat.books.writer import Books
from llmchat.providers.types import Key

logger = logging.getLogger(__name__)

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[Any]]


class KeyRefusals:
    """The refusals that one process has to store, at most one per key at a time."""

    def __init__(self, books: Books, spawn: Spawn) -> None:
        self._books = books
        self._spawn = spawn
        self._pending: set[Key] = set()

    def note(self, key: Key, code: str) -> None:
        """Let a key rest; do not wait until that is stored."""
        refusal = KeyRefusal(key, code, timezone.now())
        if not keys.is_stored(key):
            keys.note_refusal(key, code, refusal.at)  # in memory
        elif key not in self._pending:
            self._pending.add(key)
            self._spawn(self._store(refusal))

    async def _store(self, refusal: KeyRefusal) -> None:
        """Store a refusal; if that fails, the next turn meets the refusal again."""
        try:
            await self._books.refuse(refusal)
        except Exception as exc:
            ident = refusal.key.ident
            logger.warning("the refusal of %s could not be stored: %s", ident, exc)
        finally:
            self._pending.discard(refusal.key)
