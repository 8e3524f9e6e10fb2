"""Passwords are hashed in a few threads at a time."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from accounts import hashers
from accounts.errors import AttemptsError


def test_a_turn_is_for_a_few_at_once() -> None:
    turns = hashers.Turns(at_once=2, waiting=50, wait_s=30)
    inside, most, lock = 0, 0, threading.Lock()

    def hash_one(_: int) -> None:
        nonlocal inside, most
        with turns.turn():
            with lock:
                inside += 1
                most = max(most, inside)
            with lock:
                inside -= 1

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(hash_one, range(50)))

    assert 1 <= most <= 2


def test_who_would_wait_too_long_is_sent_away() -> None:
    turns = hashers.Turns(at_once=1, waiting=0, wait_s=30)
    hurried = hashers.Turns(at_once=1, waiting=1, wait_s=0.01)

    for full in (turns, hurried):
        with full.turn():
            with pytest.raises(AttemptsError) as refused, full.turn():
                pass
            assert refused.value.retry_after
        with full.turn():
            pass  # and its place is free again


@pytest.mark.django_db
def test_inside_a_transaction_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashers, "_turns", hashers.Turns(0, 0, 0.0))
    hasher = hashers.BoundedPBKDF2PasswordHasher()

    with transaction.atomic():
        encoded = hasher.encode("password", "salt", 1)

    assert hasher.verify("password", encoded)


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_while_a_password_is_hashed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection.ensure_connection()
    hasher = hashers.BoundedPBKDF2PasswordHasher()

    hasher.encode("password", "salt", 1)

    assert connection.connection is None
    assert max(2, os.cpu_count() or 1) > hashers.AT_ONCE
