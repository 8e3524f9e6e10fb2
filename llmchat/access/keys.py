"""A provider's keys: their order, and which of them are skipped for a while.

Stored keys take precedence over the environment, whose variables may hold several keys
separated by commas. A key that its provider rejects rests: it is skipped for five
minutes. If all keys rest, all are tried again. The state of a stored key is on its row,
for all processes and for the operator; that of a key from the environment is in
memory.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from llmchat import conf
from llmchat.access import memory
from llmchat.models import Provider, ProviderKey, encryption
from llmchat.models.encryption import EncryptionError
from llmchat.models.revision import hold_revision
from llmchat.providers.registry import DEFAULT_PROVIDERS
from llmchat.providers.types import Key

logger = logging.getLogger(__name__)

REST = timedelta(minutes=5)
_USE_IS_NOTED_EVERY = timedelta(minutes=1)
_STORED = "key "
# Keys from the environment: until when each rests, and the code of the rejection.
_resting: dict[Key, tuple[datetime, str]] = {}
# When this process last noted the use of each stored key, and at which revision.
_noted: dict[str, tuple[datetime, str | None]] = {}


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys of one provider in the order to try.

    `refused_for` is the code of the last rejection if all keys rest, else "".
    """

    keys: tuple[Key, ...]
    refused_for: str = ""


def ring(provider: Provider) -> KeyRing:
    """Return a provider's keys; the row's `keys` may be prefetched."""
    stored = tuple(_decrypted(key for key in provider.keys.all() if key.enabled))
    if stored:
        rests = {ident(row): (row.resting_until, row.last_error) for row, _ in stored}
        return _ring([key for _, key in stored], rests)
    keys = _from_environment(provider.name)
    if not _resting:
        return KeyRing(keys)
    return _ring(keys, {key.ident: _resting.get(key, (None, "")) for key in keys})


def note(keys: Sequence[Key], refused: Mapping[str, str], *, worked: bool) -> None:
    """Note which keys were rejected (ident to code), and whether the next one worked.

    A key with the code "" was skipped, and its state does not change.
    """
    now = timezone.now()
    for key in keys:
        if code := refused.get(key.ident):
            note_refusal(key, code, now)
    if worked:
        note_use(keys, refused, now)


def note_refusal(key: Key, code: str, at: datetime, *, wait: bool = True) -> None:
    """Note that a key was rejected at a moment, unless it has worked since.

    Without `wait`, it fails if another transaction holds the row or the revision.

    Raises: OperationalError.
    """
    if not is_stored(key):
        _resting[key] = (at + REST, code)
        return
    rows = _row_of(key).filter(Q(last_used_at=None) | Q(last_used_at__lte=at))
    # Many answers may have met the refusal at the same time.
    if not rows.exclude(last_error=code, resting_until__gt=at).exists():
        return
    with transaction.atomic():
        if not wait:
            hold_revision()
            _locked(rows).first()
        rows.update(last_error=code, resting_until=at + REST)


def note_use(
    keys: Sequence[Key],
    refused: Mapping[str, str],
    at: datetime,
    *,
    wait: bool = True,
) -> None:
    """Note that the first key that was not refused worked at a moment.

    Without `wait`, it fails if another transaction holds the row or the revision.

    Raises: OperationalError.
    """
    used = next((key for key in keys if key.ident not in refused), None)
    if used is not None:
        _note_use(used, at, wait=wait)


def stored_key(row: ProviderKey) -> Key:
    """Return a stored key, decrypted, for the provider layer.

    Raises: EncryptionError, if no encryption key decrypts it.
    """
    return Key(ident(row), row.reveal(), row.encrypted_value)


def is_readable(row: ProviderKey) -> bool:
    """Return whether an encryption key decrypts a stored key."""
    return encryption.is_readable(row.encrypted_value)


def is_stored(key: Key) -> bool:
    """Return whether the key was stored in the admin, not set in the environment."""
    return key.ident.startswith(_STORED)


def ident(row: ProviderKey) -> str:
    """Return the name of a stored key in logs."""
    return f"{_STORED}{row.pk}"


def _ring(
    keys: Sequence[Key], rests: Mapping[str, tuple[datetime | None, str]]
) -> KeyRing:
    now = timezone.now()
    ready = []
    refused_for = ""
    for key in keys:
        until, code = rests[key.ident]
        if until is None or until <= now:
            ready.append(key)
        else:
            refused_for = code
    return KeyRing(tuple(ready or keys), "" if ready else refused_for)


def _decrypted(rows: Iterable[ProviderKey]) -> Iterable[tuple[ProviderKey, Key]]:
    for row in rows:
        try:
            yield row, stored_key(row)
        except EncryptionError as exc:
            logger.error("provider key %s cannot be used: %s", row.pk, exc)


def _from_environment(provider: str) -> tuple[Key, ...]:
    preset = DEFAULT_PROVIDERS.get(provider)
    if preset is None or not preset.key_setting:
        return ()
    return _listed(provider, str(getattr(conf.get(), preset.key_setting)))


@lru_cache(maxsize=len(DEFAULT_PROVIDERS))
def _listed(provider: str, setting: str) -> tuple[Key, ...]:
    values = filter(None, map(str.strip, setting.split(",")))
    return tuple(
        Key(f"environment {provider} {number}", value)
        for number, value in enumerate(values, 1)
    )


def _note_use(key: Key, at: datetime, *, wait: bool) -> None:
    if not is_stored(key):
        # Other threads may be doing the same.
        until, _ = _resting.get(key, (None, ""))
        if until is not None and until <= at + REST:
            _resting.pop(key, None)
        return
    if _is_noted(key, timezone.now()):
        return
    # A success from before a rejection does not prove the rejection wrong.
    before = Q(resting_until=None) | Q(resting_until__lte=at + REST)
    with transaction.atomic():
        rows = _row_of(key).filter(before)
        row = (rows if wait else _locked(rows)).first()
        if row is None:
            return
        if row.last_error or row.resting_until is not None:
            if not wait:
                hold_revision()
            rows.update(last_used_at=at, last_error="", resting_until=None)
        elif row.last_used_at is None or row.last_used_at < at - _USE_IS_NOTED_EVERY:
            rows.update(last_used_at=at)
    _noted[key.ident] = timezone.now(), memory.latest_revision()


def _locked(rows: QuerySet[ProviderKey]) -> QuerySet[ProviderKey]:
    """Return a query that locks the rows, or fails if another transaction does."""
    return rows.select_for_update(nowait=True, no_key=True)


def _is_noted(key: Key, now: datetime) -> bool:
    """Return whether its use was noted recently, and no key can have changed since."""
    at, revision = _noted.get(key.ident, (None, None))
    known = memory.latest_revision()
    is_same = known is not None and known == revision
    return is_same and at is not None and at > now - _USE_IS_NOTED_EVERY


def _row_of(key: Key) -> QuerySet[ProviderKey]:
    """Return the row of a key as long as it holds the value that was used."""
    pk = int(key.ident.removeprefix(_STORED))
    return ProviderKey.objects.filter(pk=pk, encrypted_value=key.stored)
