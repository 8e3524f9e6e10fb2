"""Fixtures of the reports' tests."""

from __future__ import annotations

import pytest
from django.core.cache import cache

from accounts.models import User


@pytest.fixture(autouse=True)
def _no_memory() -> None:
    cache.clear()


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create_user("ann")
