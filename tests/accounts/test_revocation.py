"""When refresh tokens are revoked before they expire, and what is stored of them."""

from __future__ import annotations

import importlib
import json
import time
from datetime import timedelta
from io import StringIO
from pathlib import Path
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

from accounts import api_keys, revocation, tokens
from accounts.errors import CredentialsError, TokenError
from accounts.key_text import PREFIX_LENGTH, digest_of
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


def let_time_pass() -> None:
    """Move all uses of tokens so far back that none may be used a second time."""
    long_ago = timezone.now() - revocation._REUSE_GRACE - timedelta(seconds=1)
    BlacklistedToken.objects.update(blacklisted_at=long_ago)


# --- Reuse -----------------------------------------------------------------------


def test_reuse_ends_the_newest_token_of_the_family(user: User) -> None:
    first = tokens.issue_tokens(user=user).refresh
    second = tokens.rotate_refresh_token(raw=first).refresh
    third = tokens.rotate_refresh_token(raw=second).refresh
    let_time_pass()

    assert not is_good(first)
    assert not is_good(third)


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
    let_time_pass()
    others = [tokens.issue_tokens(user=person).refresh for person in (user, bob)]

    assert not is_good(first)
    assert all(map(is_good, others))


def test_a_token_from_before_families_begins_one(user: User) -> None:
    old = str(RefreshToken.for_user(user))
    new = tokens.rotate_refresh_token(raw=old).refresh
    let_time_pass()

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


def test_a_password_that_is_hashed_anew_does_not_come_back(
    user: User, settings: Any
) -> None:
    """A new one is set after a log-in has read the old hash and before it stores it."""
    judged = User.objects.get(pk=user.pk)
    user.set_password(NEW_PASSWORD)
    user.save()
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.ScryptPasswordHasher",
        "django.contrib.auth.hashers.MD5PasswordHasher",
    ]

    assert judged.check_password(PASSWORD)

    with pytest.raises(CredentialsError):
        tokens.issue_tokens(user=judged)
    user.refresh_from_db()
    assert user.check_password(NEW_PASSWORD)


def test_two_log_ins_that_hash_one_password_anew_are_both_good(
    user: User, settings: Any
) -> None:
    """Neither is refused as if its password were wrong, because it is the right one."""
    judged = User.objects.get(pk=user.pk)
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.ScryptPasswordHasher",
        "django.contrib.auth.hashers.MD5PasswordHasher",
    ]

    assert user.check_password(PASSWORD)
    assert judged.check_password(PASSWORD)

    for one in (user, judged):
        assert is_good(tokens.issue_tokens(user=one).refresh)


def test_a_log_in_that_a_new_password_overtakes_gets_nothing(user: User) -> None:
    judged = User.objects.get(pk=user.pk)
    user.set_password(NEW_PASSWORD)
    user.save()

    with pytest.raises(CredentialsError):
        tokens.issue_tokens(user=judged)


# --- What is stored --------------------------------------------------------------


def stored() -> bytes:
    """Return everything that is in a copy of the database.

    That is all bytes of SQLite's file and its log, or all rows of PostgreSQL as text.
    """
    if connection.vendor == "sqlite":
        name = str(connection.settings_dict["NAME"])
        files = [Path(name + ending) for ending in ("", "-wal", "-journal")]
        return b"".join(file.read_bytes() for file in files if file.exists())
    with connection.cursor() as cursor:
        rows = []
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT "{table}"::text FROM "{table}"')
            rows += [row[0] for row in cursor.fetchall()]
    return "\n".join(rows).encode()


def usable(token: str) -> list[bytes]:
    """Return the token, and its parts: with one of them, the rest is easily guessed."""
    claims, signature = token.encode().split(b".")[1:]
    return [token.encode(), claims, signature]


def test_no_part_of_a_token_is_stored(client: Client, user: User) -> None:
    def post(path: str, **body: str) -> Any:
        answer = client.post(path, json.dumps(body), content_type="application/json")
        assert answer.status_code < 300
        return answer.json() if answer.content else None

    first = post("/auth/token", username="ada", password=PASSWORD)
    second = post("/auth/token/refresh", refresh=first["refresh"])
    post("/auth/token/revoke", refresh=second["refresh"])
    other = post("/auth/token", username="ada", password=PASSWORD)
    _, key = api_keys.create(user_id=user.pk, name="a program", scopes="chat")

    found = stored()

    for pair in (first, second, other):
        assert _claims(pair["refresh"])["jti"].encode() in found
        for token in pair.values():
            assert not [part for part in usable(token) if part in found]
    assert digest_of(key).encode() in found
    assert key[PREFIX_LENGTH:].encode() not in found


def test_nothing_is_left_of_tokens_that_were_stored_once(user: User) -> None:
    """They were stored by an older version, which had also deleted some of them."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA secure_delete = OFF")
        once = [str(RefreshToken.for_user(user)) for _ in range(200)]
        for token in once:
            rows = OutstandingToken.objects.filter(jti=_claims(token)["jti"])
            rows.update(token=token)
        ids = OutstandingToken.objects.order_by("pk").values_list("pk", flat=True)
        where = f"id IN ({', '.join(map(str, list(ids)[::3]))})"
        cursor.execute(f"DELETE FROM token_blacklist_outstandingtoken WHERE {where}")
    before = stored()
    assert usable(once[1])[0] in before
    assert connection.vendor != "sqlite" or usable(once[0])[2] in before

    with connection.schema_editor() as editor:
        _migration("0002_names_and_tokens").forget_tokens(apps, editor)
    with connection.schema_editor(atomic=False) as editor:
        _migration("0005_no_traces_of_tokens").write_anew(apps, editor)

    found = stored()
    assert _claims(once[1])["jti"].encode() in found
    assert not [part for token in once for part in usable(token) if part in found]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="it is SQLite's")
def test_a_file_is_written_anew_without_room_in_memory_for_all_of_it(
    user: User,
) -> None:
    RefreshToken.for_user(user)
    stores: list[int] = []

    def note(execute: Any, sql: str, *args: Any) -> Any:
        if sql == "VACUUM":
            stores.append(temp_store())
        return execute(sql, *args)

    was = temp_store()
    editing = connection.schema_editor(atomic=False)
    with editing as editor, connection.execute_wrapper(note):
        _migration("0005_no_traces_of_tokens").write_anew(apps, editor)

    assert stores == [1]  # FILE
    assert temp_store() == was == 2  # MEMORY


def temp_store() -> int:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA temp_store")
        return int(cursor.fetchone()[0])


def _migration(name: str) -> Any:
    return importlib.import_module(f"accounts.migrations.{name}")


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
    old = str(RefreshToken.for_user(user))
    OutstandingToken.objects.update(token=old)

    with connection.schema_editor() as editor:
        _migration("0002_names_and_tokens").forget_tokens(apps, editor)

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
