"""A user is read once for a burst of requests, and a change to the user is seen."""

from __future__ import annotations

import jwt
import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework_simplejwt.tokens import AccessToken

from accounts import remembered as module
from accounts import tokens
from accounts.errors import TokenError
from accounts.models import User
from accounts.remembered import KEPT_S, MOST, Remembered, remembered
from accounts.tokens import user_for_token
from tests.support.deletion import delete_users

pytestmark = pytest.mark.django_db(transaction=True)


class Clock:
    """A clock that shows the same time until a test sets another."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    fresh = Remembered(clock)
    monkeypatch.setattr(module, "remembered", fresh)
    monkeypatch.setattr(tokens, "remembered", fresh)
    return clock


@pytest.fixture
def user() -> User:
    return User.objects.create_user("ada", password="correct horse battery")


@pytest.fixture
def access(user: User) -> str:
    return str(AccessToken.for_user(user))


def queries_of(access: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        user_for_token(access)
    return len(queries)


def test_a_second_request_within_the_second_reads_nothing(
    clock: Clock, access: str
) -> None:
    assert queries_of(access) == 1
    clock.now += KEPT_S - 0.01
    assert queries_of(access) == 0
    clock.now += 0.01
    assert queries_of(access) == 1


def test_what_is_remembered_is_no_way_around_the_token(
    clock: Clock, user: User, access: str
) -> None:
    user_for_token(access)
    claims = jwt.decode(access, options={"verify_signature": False})
    for changes, key, code in (
        ({}, "another-secret-" * 4, "token_invalid"),
        ({"exp": 1}, settings.SECRET_KEY, "token_expired"),
        ({"token_type": "refresh"}, settings.SECRET_KEY, "token_invalid"),
    ):
        other = jwt.encode(claims | changes, key, algorithm="HS256")
        with pytest.raises(TokenError) as refused:
            user_for_token(other)
        assert refused.value.code == code


def deactivate(user: User) -> None:
    user.is_active = False
    user.save()


def deactivate_partly(user: User) -> None:
    user.is_active = False
    user.save(update_fields=["is_active"])


def delete(user: User) -> None:
    user.delete()


def delete_rows(user: User) -> None:
    delete_users(User.objects.filter(pk=user.pk))


@pytest.mark.parametrize("change", [deactivate, deactivate_partly, delete, delete_rows])
def test_a_change_in_this_process_is_seen_at_once(
    clock: Clock, user: User, access: str, change: object
) -> None:
    user_for_token(access)
    assert callable(change)
    change(user)

    with pytest.raises(TokenError, match="Authentication token invalid"):
        user_for_token(access)


def test_a_change_that_sends_no_signal_is_seen_within_the_second(
    clock: Clock, access: str
) -> None:
    user_for_token(access)
    User.objects.update(is_active=False)
    clock.now += KEPT_S

    with pytest.raises(TokenError, match="Authentication token invalid"):
        user_for_token(access)


def test_the_second_begins_before_the_row_is_read(clock: Clock, user: User) -> None:
    def slow() -> User:
        clock.now += KEPT_S
        return user

    module.remembered.read(slow)

    assert module.remembered.find(user.pk) is None


def test_a_row_that_is_read_before_a_change_is_not_kept(
    clock: Clock, user: User
) -> None:
    def overtaken() -> User:
        read = User.objects.get(pk=user.pk)
        deactivate(user)
        return read

    module.remembered.read(overtaken)

    assert module.remembered.find(user.pk) is None


def test_a_row_that_is_read_before_the_commit_of_a_change_is_dropped(
    clock: Clock, user: User
) -> None:
    # The row as another connection sees it until the commit.
    before = User.objects.get(pk=user.pk)
    with transaction.atomic():
        deactivate(user)
        module.remembered.read(lambda: before)
        assert module.remembered.find(user.pk) == before

    assert module.remembered.find(user.pk) is None


def test_every_caller_gets_a_user_of_its_own(
    clock: Clock, user: User, access: str
) -> None:
    first, _ = user_for_token(access)
    second, _ = user_for_token(access)
    second.email = "changed@example.com"
    assert not second.has_perm("accounts.view_user")
    user.user_permissions.add(Permission.objects.get(codename="view_user"))
    third, _ = user_for_token(access)

    assert first == second == third
    assert third.email == ""
    assert third.has_perm("accounts.view_user")


def test_rest_refuses_a_user_who_was_deactivated_behind_a_request(
    client: Client, user: User, access: str
) -> None:
    headers = {"Authorization": f"Bearer {access}"}
    assert client.get("/auth/me", headers=headers).status_code == 200
    assert remembered.find(user.pk) == user
    deactivate(user)

    refused = client.get("/auth/me", headers=headers)

    assert (refused.status_code, refused.json()["code"]) == (401, "token_invalid")


def test_memory_is_bounded(clock: Clock) -> None:
    for number in range(1, MOST + 100):
        module.remembered.read(lambda pk=number: User(pk=pk))

    assert len(module.remembered) == MOST
    assert module.remembered.find(1) is None
    assert module.remembered.find(MOST + 99) is not None

    clock.now += KEPT_S
    module.remembered.read(lambda: User(pk=1))

    assert len(module.remembered) == 1
