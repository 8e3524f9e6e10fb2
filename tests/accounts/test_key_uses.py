"""The last use of an API key is stored once a minute."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import api_keys
from accounts.key_uses import EVERY_S, Uses
from accounts.models import ApiKey, User

pytestmark = pytest.mark.django_db


class Clock:
    """A clock that shows the same time until a test sets another."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def row(user: User) -> ApiKey:
    return api_keys.create(user_id=user.pk, name="x", scopes="chat")[0]


def test_a_use_is_stored_once_a_minute(row: ApiKey) -> None:
    clock = Clock()
    uses = Uses(clock)
    uses.note(row.digest)
    assert uses.are_due
    uses.store()
    row.refresh_from_db()
    assert row.last_used_at is not None

    for _ in range(100):
        uses.note(row.digest)
    assert not uses.are_due
    clock.now += EVERY_S
    uses.note(row.digest)
    assert uses.are_due


def test_what_another_process_has_stored_a_moment_ago_stays(row: ApiKey) -> None:
    row.last_used_at = a_moment_ago = timezone.now() - timedelta(seconds=5)
    row.save()
    uses = Uses(Clock())
    uses.note(row.digest)
    uses.store()
    row.refresh_from_db()
    assert row.last_used_at == a_moment_ago
    assert not uses.are_due
