"""Create, check and revoke API keys.

A key is a bearer like an access token, and is accepted in the same places. Like users,
keys that were read from the database are remembered for a moment.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.errors import KeysError, TokenError
from accounts.key_text import digest_of, is_whole, new_key, prefix_of
from accounts.key_uses import uses
from accounts.models import ApiKey, User
from accounts.remembered import remembered_keys
from accounts.verified import Verified

# How many live keys a user can have, and how many of the latest ended ones are kept.
MOST = 50
MOST_ENDED = 100


def create(*, user_id: int, **fields: Any) -> tuple[ApiKey, str]:
    """Create a key for a user; return its row and the key itself, which is not stored.

    Raises: KeysError, TokenError: the user was deleted or is not active.
    """
    row = ApiKey(user_id=user_id, **fields)
    return row, issue(row)


def issue(row: ApiKey) -> str:
    """Store a new row; return its key.

    Raises: KeysError, TokenError, as `ensure_room`.
    """
    key = new_key()
    row.prefix, row.digest = prefix_of(key), digest_of(key)
    with transaction.atomic():
        ensure_room(row.user_id)
        row.save(force_insert=True)
        _delete_oldest(row.user_id)
    return key


def ensure_room(user_id: int) -> None:
    """Check that a user has room for one more key, until the end of the transaction.

    Raises: KeysError, TokenError: the user was deleted or is not active.
    """
    # The lock makes a concurrent request count the key of this one.
    locked = User.objects.select_for_update(no_key=True)
    if not locked.filter(pk=user_id, is_active=True).exists():
        raise TokenError("token_invalid")
    if ApiKey.objects.filter(user_id=user_id).live().count() >= MOST:
        raise KeysError


def revoke(row: ApiKey) -> bool:
    """Revoke a key; return whether it was not yet revoked or deleted.

    This process refuses the key immediately, the others within a second. A key that
    another request revoked or deleted in the meantime stays as it is.
    """
    with transaction.atomic():
        stored = ApiKey.objects.select_for_update(no_key=True).filter(pk=row.pk).first()
        is_live = stored is not None and stored.revoked_at is None
        if stored is not None and is_live:
            stored.revoked_at = timezone.now()
            stored.save(update_fields=["revoked_at"])
    row.revoked_at = stored.revoked_at if stored else None
    return is_live


def verify(raw: object) -> Verified:
    """Return what a key grants.

    Raises: TokenError, if it is unknown, expired or revoked.
    """
    digest = _digest(raw)
    row = remembered_keys.find(digest) or remembered_keys.read(lambda: _read(digest))
    return _verified(row)


def known(raw: object) -> Verified | None:
    """Return what a remembered key grants, or None if the database must be queried.

    Raises: TokenError.
    """
    row = remembered_keys.find(_digest(raw))
    return None if row is None else _verified(row)


def unrevoked(key_ids: Collection[int]) -> dict[int, Verified]:
    """Return what those of the keys grant that exist and are not revoked.

    Expired keys are included, because their running answers continue.
    """
    rows = ApiKey.objects.filter(pk__in=key_ids, revoked_at=None)
    return {row.pk: _used(row) for row in rows}


def _digest(raw: object) -> str:
    if not isinstance(raw, str) or not is_whole(raw):
        raise TokenError("token_invalid")
    return digest_of(raw)


def _read(digest: str) -> ApiKey:
    row: ApiKey | None = ApiKey.objects.filter(digest=digest).first()
    if row is None:
        raise TokenError("token_invalid")
    return row


def _verified(row: ApiKey) -> Verified:
    state = row.state
    if state == ApiKey.State.EXPIRED:
        raise TokenError("token_expired")
    if state == ApiKey.State.REVOKED:
        raise TokenError("token_invalid")
    return _used(row)


def _used(row: ApiKey) -> Verified:
    """Return what a key's row grants, and note that the key is used."""
    uses.note(row.digest)
    return Verified(
        row.user_id,
        math.inf if row.expires_at is None else row.expires_at.timestamp(),
        generation=None,
        scopes=frozenset(row.scopes.split()),
        key_id=row.pk,
        messages_per_minute=row.messages_per_minute,
    )


def _delete_oldest(user_id: int) -> None:
    """Keep the table bounded, however many keys a user creates and revokes."""
    keys = ApiKey.objects.filter(user_id=user_id)
    ended = keys.exclude(pk__in=keys.live().values("pk")).order_by("-pk")
    oldest = list(ended.values_list("pk", flat=True)[MOST_ENDED:])
    if oldest:
        ApiKey.objects.filter(pk__in=oldest).delete()
