"""POST /auth/register."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from accounts import services
from accounts.models import User
from tests.support.log_in import PASSWORD, log_in, post

# A valid address, but longer than the field in which addresses are stored.
LONG = f"{'a' * 250}@example.com"

pytestmark = pytest.mark.django_db(transaction=True)


def test_somebody_new_registers_and_is_logged_in(client: Client) -> None:
    answer = post(client, "/auth/register", {"username": "grace", "password": PASSWORD})

    assert answer.status_code == 201
    assert answer.json()["username"] == "grace"
    assert "password" not in answer.json()
    token = answer.json()["access"]
    me = client.get("/auth/me", headers={"authorization": f"Bearer {token}"})
    assert me.json()["username"] == "grace"
    assert log_in(client, "grace").status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"username": "grace", "password": "123"}, "password"),
        ({"username": "grace", "password": "password"}, "password"),
        ({"username": "gracehopper", "password": "gracehopper"}, "password"),
        ({"username": "gr ace", "password": PASSWORD}, "username"),
        ({"username": "ADA", "password": PASSWORD}, "username"),
        ({"username": "grace", "password": PASSWORD, "email": "x"}, "email"),
        ({"username": "grace", "password": PASSWORD, "email": LONG}, "email"),
    ],
)
def test_a_registration_is_validated(
    client: Client, user: User, body: dict[str, str], field: str
) -> None:
    answer = post(client, "/auth/register/", body)

    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_request"
    assert answer.json()["error"].startswith(f"{field}: ")


def test_a_registration_makes_no_operator(client: Client) -> None:
    post(
        client,
        "/auth/register",
        {
            "username": "grace",
            "password": PASSWORD,
            "is_staff": True,
            "is_superuser": True,
        },
    )

    grace = User.objects.get(username="grace")
    assert not grace.is_staff
    assert not grace.is_superuser


def test_registration_can_be_switched_off(client: Client, settings: Any) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"registration": False}

    answer = post(client, "/auth/register", {})

    assert answer.status_code == 403
    assert answer.json()["code"] == "registration_disabled"


@pytest.mark.skipif(connection.vendor == "sqlite", reason="it has one writer at a time")
def test_of_two_who_register_one_name_at_once_one_gets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def register(name: str) -> int:
        try:
            body = {"username": name, "password": PASSWORD}
            return int(post(Client(), "/auth/register", body).status_code)
        finally:
            connection.close()

    def is_taken(name: str) -> bool:
        found = look(name)
        if connection.in_atomic_block and not others:
            others.append(threads.submit(register, "ADA"))
            while not others[0].done() and not somebody_waits():
                pass
        return found

    def somebody_waits() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks"
                " WHERE locktype = 'advisory' AND NOT granted"
            )
            return bool(cursor.fetchone()[0])

    look, others = services.is_taken, list[Future[int]]()
    monkeypatch.setattr(services, "is_taken", is_taken)
    with ThreadPoolExecutor(1) as threads:
        assert register("Ada") == 201
        assert others[0].result() == 400
    assert [user.username for user in User.objects.all()] == ["Ada"]
