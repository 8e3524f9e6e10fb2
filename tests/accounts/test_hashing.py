"""Hashing passwords leaves time for everything else."""

from __future__ import annotations

import asyncio
import os
import statistics
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from django.db import connection, transaction

from accounts import hashers
from accounts.errors import AttemptsError
from tests.conftest import StartServer
from tests.support.live import Account, LiveServer


@pytest.fixture(scope="module")
def live(start_server: StartServer) -> LiveServer:
    env: Mapping[str, str] = {"LLMCHAT_REGISTRATION": "1"}
    return start_server("uvicorn", env)


async def _waits(
    http: httpx.AsyncClient, account: Account, busy: asyncio.Future[object]
) -> list[float]:
    """Ask who I am until the others are done, and return how long each took."""
    waits = []
    while not busy.done():
        begun = time.perf_counter()
        answer = await http.get("/auth/me", headers=account.headers)
        waits.append(time.perf_counter() - begun)
        assert answer.status_code == 200
        await asyncio.sleep(0.05)
    return waits


async def test_many_log_ins_and_registrations_let_others_through(
    live: LiveServer,
) -> None:
    account = live.account()
    credentials = {"username": account.username, "password": account.password}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=live.url, timeout=100, limits=limits) as http:
        requests = [http.post("/auth/token", json=credentials) for _ in range(50)]
        requests += [
            http.post(
                "/auth/register",
                json={"username": f"new{number}", "password": "a password of mine"},
            )
            for number in range(10)
        ]
        busy = asyncio.gather(*requests)
        waits = await _waits(http, account, busy)
        answers = await busy

    assert {answer.status_code for answer in answers} == {200, 201}
    # Without the bound half of them take longer than a second.
    assert statistics.median(waits) < 0.7, waits


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
