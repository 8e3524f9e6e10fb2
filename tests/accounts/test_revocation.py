"""When refresh tokens end before their time, and what is stored of them."""

from __future__ import annotations

import importlib
import json
import time
from datetime import timedelta
from io import StringIO
from typing import Any

import jwt
import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import (
    BlacklistedToken,
    OutstandingToken,
)
from rest_framework_simplejwt.tokens import RefreshToken

from accounts import tokens
from accounts.errors import CredentialsError, TokenError
from accounts.models import User
from tests.support.log_in import PASSWORD

pytestmark = pytest.mark.django_db(transaction=True)

NEW_PASSWORD = "another long password"


@pytest.fixture
def user() -> User:
    return User.objects.create_superuser("ada", password=PASSWORD)


def is_good(refresh: str) -> bool:
    try:
        tokens.rotate_refresh_token(raw=refresh)
    except TokenError as exc:
        return exc.code != "token_invalid"
    return True


def let_time_pass(**time: float) -> None:
    """Have everything used up so much longer ago."""
    BlacklistedToken.objects.update(blacklisted_at=timezone.now() - timedelta(**time))


# --- Reuse -----------------------------------------------------------------------


def test_reuse_ends_the_newest_token_of_the_family(user: User) -> None:
    first = tokens.issue_tokens(user=user).refresh
    second = tokens.rotate_refresh_token(raw=first).refresh
    third = tokens.rotate_refresh_token(raw=second).refresh
    let_time_pass(seconds=11)

    assert not is_good(first)
    assert not is_good(third)


def test_two_tabs_that_refresh_at_once_stay_logged_in(user: User) -> None:
    shared = tokens.issue_tokens(user=user).refresh
    newer = tokens.rotate_refresh_token(raw=shared).refresh
    let_time_pass(seconds=9)

    assert not is_good(shared)
    assert is_good(newer)


def test_reuse_at_the_log_out_ends_the_family_too(user: User) -> None:
    first = tokens.issue_tokens(user=user).refresh
    second = tokens.rotate_refresh_token(raw=first).refresh

    with pytest.raises(TokenError):
        tokens.revoke_refresh_token(raw=first)

    assert not is_good(second)


def test_other_log_ins_and_other_users_stay(user: User) -> None:
    bob = User.objects.create_user("bob", password=PASSWORD)
    first = tokens.issue_tokens(user=user).refresh
    tokens.rotate_refresh_token(raw=first)
    let_time_pass(seconds=11)
    others = [tokens.issue_tokens(user=person).refresh for person in (user, bob)]

    assert not is_good(first)
    assert all(map(is_good, others))


def test_a_token_from_before_families_begins_one(user: User) -> None:
    old = str(RefreshToken.for_user(user))
    new = tokens.rotate_refresh_token(raw=old).refresh
    let_time_pass(seconds=11)

    assert not is_good(old)
    assert not is_good(new)


# --- A new password --------------------------------------------------------------


def by_the_owner(client: Client, user: User) -> None:
    fields = {
        "old_password": PASSWORD,
        "new_password1": NEW_PASSWORD,
        "new_password2": NEW_PASSWORD,
    }
    assert client.post("/admin/password_change/", fields).status_code == 302


def by_an_operator(client: Client, user: User) -> None:
    fields = {
        "password1": NEW_PASSWORD,
        "password2": NEW_PASSWORD,
        "usable_password": "true",
    }
    url = f"/admin/accounts/user/{user.pk}/password/"
    assert client.post(url, fields).status_code == 302


def by_the_command(client: Client, user: User) -> None:
    call_command("changepassword", user.username, stdout=StringIO())


@pytest.mark.parametrize("change", [by_the_owner, by_an_operator, by_the_command])
def test_a_new_password_ends_the_old_refresh_tokens(
    client: Client, user: User, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getpass", lambda prompt: NEW_PASSWORD)
    bob = User.objects.create_user("bob", password=PASSWORD)
    old = [tokens.issue_tokens(user=user).refresh, str(RefreshToken.for_user(user))]
    of_bob = tokens.issue_tokens(user=bob).refresh
    client.force_login(user)

    change(client, user)

    assert not any(map(is_good, old))
    assert is_good(of_bob)
    user.refresh_from_db()
    assert user.check_password(NEW_PASSWORD)
    assert is_good(tokens.issue_tokens(user=user).refresh)


def test_an_unusable_password_ends_them_too(user: User) -> None:
    old = tokens.issue_tokens(user=user).refresh

    user.set_unusable_password()
    user.save()

    assert not is_good(old)


def test_a_password_that_is_hashed_anew_ends_nothing(user: User, settings: Any) -> None:
    old = tokens.issue_tokens(user=user).refresh
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.ScryptPasswordHasher",
        "django.contrib.auth.hashers.MD5PasswordHasher",
    ]

    assert user.check_password(PASSWORD)

    assert user.password.startswith("scrypt")
    assert is_good(old)


def test_a_log_in_that_a_new_password_overtakes_gets_nothing(user: User) -> None:
    judged = User.objects.get(pk=user.pk)
    user.set_password(NEW_PASSWORD)
    user.save()

    with pytest.raises(CredentialsError):
        tokens.issue_tokens(user=judged)


# --- What is stored --------------------------------------------------------------


def test_a_dump_of_the_database_holds_no_token(client: Client, user: User) -> None:
    body = json.dumps({"username": "ada", "password": PASSWORD})
    pair = client.post("/auth/token", body, content_type="application/json").json()
    rotated = tokens.rotate_refresh_token(raw=pair["refresh"])
    foreign = _signed(user, jti="f" * 32, token_type="refresh")
    tokens.revoke_refresh_token(raw=foreign)

    output = StringIO()
    call_command("dumpdata", stdout=output)

    for token in (pair["refresh"], pair["access"], rotated.refresh, foreign):
        assert token not in output.getvalue()
    assert set(OutstandingToken.objects.values_list("token", flat=True)) == {""}


def test_tokens_that_were_stored_are_forgotten_and_still_good(user: User) -> None:
    migration = importlib.import_module("accounts.migrations.0002_names_and_tokens")
    old = str(RefreshToken.for_user(user))
    OutstandingToken.objects.update(token=old)

    with connection.schema_editor() as editor:
        migration.forget_tokens(apps, editor)

    assert OutstandingToken.objects.get().token == ""
    assert is_good(old)


# --- Clocks ----------------------------------------------------------------------


def _claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def _signed(user: User, **changes: object) -> str:
    now = int(time.time())
    claims: dict[str, Any] = {
        "token_type": "access",
        "exp": now + 60,
        "iat": now,
        "jti": "0" * 32,
        "user_id": str(user.pk),
    }
    return jwt.encode(claims | changes, settings.SECRET_KEY, algorithm="HS256")


def test_a_token_of_a_clock_that_is_a_little_ahead_is_good(user: User) -> None:
    now = time.time()

    assert tokens.user_for_token(_signed(user, iat=now + 8))[0] == user
    assert is_good(_signed(user, iat=now + 8, token_type="refresh"))
    with pytest.raises(TokenError):
        tokens.user_for_token(_signed(user, iat=now + 60))


def test_the_leeway_makes_no_token_live_longer(user: User) -> None:
    ended = _signed(user, exp=time.time() - 1)

    with pytest.raises(TokenError) as refused:
        tokens.user_for_token(ended)

    assert refused.value.code == "token_expired"
