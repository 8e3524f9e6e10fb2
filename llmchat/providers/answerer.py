"""Who a provider says has answered, in a form that may be stored."""

from __future__ import annotations

from dataclasses import replace

from .reading import Reading
from .text import holds_key, without_key
from .types import Answerer, Finished, Key

_MAX_CHARS = 128  # of the columns that store them


def answerer_of(reading: Reading, key: Key | None) -> Answerer:
    """Return who answered, without the key, which a provider may repeat anywhere."""
    names = (reading.model, reading.fingerprint)
    return Answerer(*(_without_key(storable(name), key) for name in names))


def without_echo(end: Finished, key: Key | None) -> Finished:
    """Return the end, without the key wherever the provider has repeated it."""
    if key is None:
        return end
    reason = without_key(end.raw_reason, key.value)
    return replace(end, model=_without_key(end.model, key), raw_reason=reason)


def storable(name: str) -> str:
    """Return a name that every database can store: no NUL, no lone surrogates."""
    return name.replace("\0", "").encode(errors="ignore").decode()[:_MAX_CHARS]


def _without_key(name: str, key: Key | None) -> str:
    return "" if key is not None and holds_key(name, key.value) else name
