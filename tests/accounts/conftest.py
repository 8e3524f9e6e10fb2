"""Fixtures of the tests of accounts: a user, and rate limits that start at zero.

The minute for which the limits count never ends.
"""

from __future__ import annotations

import pytest

from accounts.models import User
from tests.support.limits import hold_the_minute
from tests.support.log_in import PASSWORD


@pytest.fixture(autouse=True)
def _fresh_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    hold_the_minute(monkeypatch)


@pytest.fixture
def user() -> User:
    return User.objects.create_user("ada", "ada@example.com", PASSWORD)
