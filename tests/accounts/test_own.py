"""What users can do with their own account, requested as a program does."""

from __future__ import annotations

from functools import partial
from threading import Event
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import Client
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from accounts import revocation, tokens
from accounts.models import User
from accounts.remembered import remembered
from llmchat.answers import stopping
from tests.support.admin_fixtures import make_conversation
from tests.support.chat_fixtures import meet
from tests.support.deletion import delete_users
from tests.support.log_in import PASSWORD, log_in, post

pytestmark = pytest.mark.django_db(transaction=True)

NEW_PASSWORD = "another long password"


def bearer(access: str) -> dict[str, Any]:
    return {"headers": {"authorization": f"Bearer {access}"}}


def change(client: Client, access: str, **body: object) -> Any:
    fields = {"current": PASSWORD, "new": NEW_PASSWORD, **body}
    return post(client, "/auth/password", fields, **bearer(access))


def delete(client: Client, access: str, password: str = PASSWORD) -> Any:
    body, kind = {"password": password}, "application/json"
    return client.delete("/auth/me", body, content_type=kind, **bearer(access))


def me(client: Client, access: str) -> tuple[int, str]:
    answer = client.get("/auth/me", **bearer(access))
    return answer.status_code, answer.json().get("code", "")


# --- A new password --------------------------------------------------------------


def test_a_new_password_ends_all_tokens_and_gives_a_new_pair(
    client: Client, user: User
) -> None:
    old, other = (tokens.issue_tokens(user=user) for _ in range(2))
    of_bob = tokens.issue_tokens(user=User.objects.create_user("bob"))
    assert me(client, old.access) == me(client, other.access) == (200, "")

    answer = change(client, old.access)

    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    new = answer.json()
    assert me(client, new["access"]) == me(client, of_bob.access) == (200, "")
    for ended in (old, other):
        assert me(client, ended.access) == (401, "token_invalid")
        again = post(client, "/auth/token/refresh", {"refresh": ended.refresh})
        assert again.json()["code"] == "token_invalid"
    renewed = post(client, "/auth/token/refresh", {"refresh": new["refresh"]}).json()
    assert me(client, renewed["access"]) == (200, "")
    assert log_in(client, "ada").status_code == 401
    fresh = log_in(client, "ada", NEW_PASSWORD).json()
    assert me(client, fresh["access"]) == (200, "")
    # And once more: this does not hold only for the first change.
    change(client, fresh["access"], current=NEW_PASSWORD, new=PASSWORD)
    assert me(client, fresh["access"]) == (401, "token_invalid")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"current": "wrong"}, 401, "The password is wrong"),
        ({"new": "short"}, 400, "new: This password is too short"),
        ({"new": "ada@example.com"}, 400, "new: The password is too similar"),
        ({"new": None}, 400, "new: "),
        ({"current": ""}, 400, "current: "),
    ],
)
def test_a_refused_change_changes_nothing(
    client: Client, user: User, body: dict[str, object], status: int, said: str
) -> None:
    pair = tokens.issue_tokens(user=user)

    answer = change(client, pair.access, **body)

    assert answer.status_code == status
    assert answer.json()["error"].startswith(said)
    assert me(client, pair.access) == (200, "")
    assert log_in(client, "ada").status_code == 200


def test_guesses_of_the_password_are_limited_as_log_ins_are(
    client: Client, user: User
) -> None:
    access = tokens.issue_tokens(user=user).access
    for number in range(10):
        guess = change if number % 2 else delete
        name = "current" if number % 2 else "password"
        assert guess(client, access, **{name: "wrong"}).status_code == 401

    for refused in (change(client, access), delete(client, access)):
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert me(client, access) == (200, "")
    assert log_in(client, "ada").status_code == 429


def test_two_changes_at_once_are_one(
    user: User, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another change is made between the check of the password and this one."""
    access = tokens.issue_tokens(user=user).access
    hashed = User.set_password

    def overtaken(self: User, raw: str) -> None:
        hashed(self, raw)
        monkeypatch.undo()
        other = User.objects.get(pk=user.pk)
        other.set_password("the password of the other")
        other.save()

    monkeypatch.setattr(User, "set_password", overtaken)
    answer = change(client, access)

    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")
    assert log_in(client, "ada", "the password of the other").status_code == 200


def test_a_row_that_was_read_before_brings_no_token_back(
    client: Client, user: User
) -> None:
    access = tokens.issue_tokens(user=user).access
    stale = User.objects.get(pk=user.pk)
    change(client, access)

    stale.email = "new@example.com"
    stale.save()

    assert me(client, access) == (401, "token_invalid")


def test_a_token_newer_than_what_is_remembered_is_good(
    client: Client, user: User
) -> None:
    """Another process changed the password, while this one remembers the old row."""
    old = tokens.issue_tokens(user=user).access
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_user SET token_generation = 1")
    new = tokens.issue_tokens(user=user).access
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_user SET token_generation = 0")
    remembered.forget(user.pk)
    assert me(client, old) == (200, "")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_user SET token_generation = 1")

    assert me(client, new) == (200, "")
    assert me(client, old) == (401, "token_invalid")


# --- Leaving ---------------------------------------------------------------------


def test_an_account_is_deleted_with_all_that_belongs_to_it(
    client: Client, user: User
) -> None:
    bob = User.objects.create_user("bob")
    for person in (user, bob):
        make_conversation(person)
    pair = tokens.issue_tokens(user=user)
    assert me(client, pair.access) == (200, "")

    assert delete(client, pair.access, "wrong").status_code == 401
    assert delete(client, pair.access).status_code == 204

    assert me(client, pair.access) == (401, "token_invalid")
    assert log_in(client, "ada").status_code == 401
    assert list(User.objects.values_list("username", flat=True)) == ["bob"]
    assert bob.conversations.count() == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM llmchat_message")
        assert cursor.fetchone() == (2,)


def test_an_account_of_very_many_conversations_takes_several_requests(
    client: Client,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(stopping, "MOST_CONVERSATIONS", 2)
    monkeypatch.setattr(stopping, "BEGINS_S", 0.0)
    for _ in range(3):
        make_conversation(user)
    access = tokens.issue_tokens(user=user).access

    answer = delete(client, access)

    assert (answer.status_code, answer.json()["code"]) == (503, "deletion_unfinished")
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["error"].startswith("2 conversations deleted, 1 left: delete")
    assert caplog.text == ""  # not a fault of the server
    assert user.conversations.count() == 1
    assert me(client, access) == (200, "")
    assert delete(client, access).status_code == 204
    assert not User.objects.exists()


def test_an_account_is_deleted_while_one_of_its_tokens_is_revoked(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    raw = tokens.issue_tokens(user=user).refresh
    claimed, go_on, use_up = Event(), Event(), revocation.use_up

    def slowly(*args: Any) -> bool:
        is_first = use_up(*args)
        claimed.set()
        assert go_on.wait(30)
        return is_first

    monkeypatch.setattr(revocation, "use_up", slowly)

    async def both() -> None:
        revoke = partial(tokens.revoke_refresh_token, raw=raw)
        users = User.objects.filter(pk=user.pk)
        await meet(revoke, claimed, partial(delete_users, users), go_on)

    async_to_sync(both)()
    assert not User.objects.exists()
    assert not OutstandingToken.objects.exists()


def test_the_last_superuser_cannot_leave(client: Client, user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_superuser=True, is_staff=True)
    gone = User.objects.create_superuser("gone", password=PASSWORD, is_active=False)
    access = tokens.issue_tokens(user=user).access
    make_conversation(user)

    answer = delete(client, access)

    assert (answer.status_code, answer.json()["code"]) == (409, "last_superuser")
    assert user.conversations.exists()
    assert "last superuser" in answer.json()["error"]
    gone.is_active = True
    gone.save()
    assert delete(client, access).status_code == 204


def test_of_two_superusers_who_leave_at_once_one_stays(
    client: Client, user: User
) -> None:
    """The other superuser leaves while the conversations of the first are deleted."""
    User.objects.filter(pk=user.pk).update(is_superuser=True, is_staff=True)
    other = User.objects.create_superuser("other", password=PASSWORD)
    access = tokens.issue_tokens(user=user).access

    def leave(*_: object, **__: object) -> stopping.DeletionCounts:
        User.objects.filter(pk=other.pk).update(is_active=False)
        return stopping.DeletionCounts(0, 0)

    User.emptying.connect(leave)
    try:
        answer = delete(client, access)
    finally:
        User.emptying.disconnect(leave)

    assert (answer.status_code, answer.json()["code"]) == (409, "last_superuser")
    assert User.objects.filter(pk=user.pk, is_active=True).exists()


def test_without_a_token_nobody_is_asked_for_a_password(client: Client) -> None:
    for answer in (post(client, "/auth/password", {}), client.delete("/auth/me/")):
        assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")
