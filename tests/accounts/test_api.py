"""The addresses below /auth/, asked as a program asks them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import hashers
from django.core.cache import cache
from django.db import connections
from django.test import Client
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from accounts.errors import CredentialsError
from accounts.models import User

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def _fresh_counts() -> None:
    cache.clear()


@pytest.fixture
def user() -> User:
    return User.objects.create_user("ada", "ada@example.com", PASSWORD)


def post(client: Client, path: str, body: object, **extra: Any) -> Any:
    return client.post(path, json.dumps(body), content_type="application/json", **extra)


def log_in(client: Client, username: str, password: str = PASSWORD) -> Any:
    return post(client, "/auth/token", {"username": username, "password": password})


@pytest.mark.parametrize("path", ["/auth/token", "/auth/token/"])
def test_the_right_password_gives_two_tokens(
    client: Client, user: User, path: str
) -> None:
    answer = post(client, path, {"username": "ada", "password": PASSWORD})

    assert answer.status_code == 200
    assert answer.json().keys() == {"access", "refresh"}
    assert AccessToken(answer.json()["access"])["user_id"] == str(user.pk)


def test_an_unknown_user_and_a_wrong_password_get_the_same_answer(
    client: Client, user: User
) -> None:
    wrong = log_in(client, "ada", "wrong")
    unknown = log_in(client, "nobody", "wrong")

    assert wrong.status_code == unknown.status_code == 401
    assert wrong.content == unknown.content
    assert wrong.json() == {
        "error": "Username or password is wrong",
        "code": "invalid_credentials",
    }


def test_an_unknown_user_costs_a_hash_as_a_known_one_does(
    client: Client, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    encode = hashers.MD5PasswordHasher.encode

    def count(self: Any, password: str, salt: str) -> str:
        hashed.append(password)
        return encode(self, password, salt)

    monkeypatch.setattr(hashers.MD5PasswordHasher, "encode", count)
    log_in(client, "ada", "wrong")
    of_known = len(hashed)
    log_in(client, "nobody", "wrong")

    assert of_known == 1
    assert len(hashed) == 2


def test_an_inactive_user_gets_the_answer_of_a_wrong_password(
    client: Client, user: User
) -> None:
    User.objects.update(is_active=False)

    assert log_in(client, "ada").json()["code"] == "invalid_credentials"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"username": "ada"},
        {"username": "ada", "password": None},
        {"username": ["ada"], "password": PASSWORD},
        {"username": "", "password": PASSWORD},
        {"username": "a\u0000b", "password": PASSWORD},
        {"username": "a" * 200, "password": PASSWORD},
        [],
        "text",
        None,
        17,
    ],
)
def test_a_body_that_is_no_log_in_is_a_bad_request(
    client: Client, body: object
) -> None:
    answer = post(client, "/auth/token", body)

    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_request"
    assert answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"username": NaN, "password": "x"}',
    ],
)
def test_a_body_that_is_not_json_is_a_bad_request(client: Client, body: bytes) -> None:
    answer = client.post("/auth/token", body, content_type="application/json")

    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_request"


def test_a_body_beyond_the_limit_is_too_large(client: Client, settings: Any) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"max_payload_bytes": 1000}

    answer = post(client, "/auth/token", {"username": "a" * 1000, "password": "x"})

    assert answer.status_code == 413
    assert answer.json()["code"] == "payload_too_large"


def test_a_form_is_an_unsupported_media_type(client: Client) -> None:
    answer = client.post("/auth/token", {"username": "ada", "password": PASSWORD})

    assert answer.status_code == 415
    assert answer.json()["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/auth/token"),
        ("put", "/auth/token/"),
        ("get", "/auth/token/refresh"),
        ("delete", "/auth/token/revoke"),
        ("get", "/auth/register"),
        ("post", "/auth/me"),
        ("delete", "/auth/me/"),
    ],
)
def test_a_wrong_method_is_refused_before_the_token_is_asked_for(
    client: Client, method: str, path: str
) -> None:
    answer = getattr(client, method)(path)

    assert answer.status_code == 405
    assert answer.json()["code"] == "method_not_allowed"
    assert "Allow" in answer.headers


@pytest.mark.parametrize("path", ["/auth", "/auth/", "/auth/nothing", "/llm/nothing/"])
@pytest.mark.parametrize("debug", [False, True])
def test_an_unknown_address_of_the_api_is_json(
    client: Client, settings: Any, path: str, debug: bool
) -> None:
    settings.DEBUG = debug

    answer = client.get(path)

    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


# --- me --------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/auth/me", "/auth/me/"])
def test_me_shows_the_bearer(client: Client, user: User, path: str) -> None:
    token = str(AccessToken.for_user(user))

    answer = client.get(path, headers={"authorization": f"Bearer {token}"})

    assert answer.json() == {
        "id": user.pk,
        "username": "ada",
        "email": "ada@example.com",
        "isStaff": False,
    }


@pytest.mark.parametrize(
    ("header", "code", "text"),
    [
        ({}, "token_missing", "Authentication token missing"),
        (
            {"authorization": "Basic YTpi"},
            "token_missing",
            "Authentication token missing",
        ),
        (
            {"authorization": "Bearer x"},
            "token_invalid",
            "Authentication token invalid",
        ),
        ({"authorization": "Bearer"}, "token_invalid", "Authentication token invalid"),
    ],
)
def test_me_without_a_good_token_is_unauthorized(
    client: Client, header: dict[str, str], code: str, text: str
) -> None:
    answer = client.get("/auth/me", headers=header)

    assert answer.status_code == 401
    assert answer.json() == {"error": text, "code": code}
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_session_of_the_admin_is_no_token(client: Client, user: User) -> None:
    client.force_login(user)

    assert client.get("/auth/me").json()["code"] == "token_missing"


# --- refresh and revoke ----------------------------------------------------------


def test_a_refresh_token_is_traded_for_a_new_pair(client: Client, user: User) -> None:
    old = log_in(client, "ada").json()["refresh"]

    answer = post(client, "/auth/token/refresh", {"refresh": old})

    assert answer.status_code == 200
    assert answer.json()["refresh"] != old
    assert AccessToken(answer.json()["access"])["user_id"] == str(user.pk)


def test_a_refresh_token_serves_once(client: Client, user: User) -> None:
    old = log_in(client, "ada").json()["refresh"]
    post(client, "/auth/token/refresh/", {"refresh": old})

    again = post(client, "/auth/token/refresh", {"refresh": old})

    assert again.status_code == 401
    assert again.json()["code"] == "token_invalid"


def test_a_used_refresh_token_is_reported_to_the_operator(
    client: Client, user: User, caplog: pytest.LogCaptureFixture
) -> None:
    old = log_in(client, "ada").json()["refresh"]
    post(client, "/auth/token/refresh", {"refresh": old})
    long_ago = timezone.now() - timedelta(minutes=1)
    BlacklistedToken.objects.update(blacklisted_at=long_ago)
    post(client, "/auth/token/refresh", {"refresh": old})

    assert f"a refresh token of user {user.pk} came a second time" in caplog.text
    assert old not in caplog.text


def test_of_twenty_refreshes_at_once_exactly_one_wins(user: User) -> None:
    old = str(RefreshToken.for_user(user))

    def refresh(_: int) -> int:
        try:
            status: int = post(
                Client(), "/auth/token/refresh", {"refresh": old}
            ).status_code
            return status
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        statuses = sorted(pool.map(refresh, range(20)))

    assert statuses == [200] + [401] * 19


@pytest.mark.parametrize("gone", ["inactive", "deleted"])
def test_a_user_who_is_gone_cannot_refresh(
    client: Client, user: User, gone: str
) -> None:
    refresh = str(RefreshToken.for_user(user))
    if gone == "inactive":
        User.objects.update(is_active=False)
    else:
        user.delete()

    answer = post(client, "/auth/token/refresh", {"refresh": refresh})

    assert answer.status_code == 401
    assert answer.json()["code"] == "token_invalid"


@pytest.mark.parametrize("path", ["/auth/token/refresh", "/auth/token/revoke"])
def test_an_access_token_is_no_refresh_token(
    client: Client, user: User, path: str
) -> None:
    answer = post(client, path, {"refresh": str(AccessToken.for_user(user))})

    assert answer.status_code == 401
    assert answer.json()["code"] == "token_invalid"


@pytest.mark.parametrize("path", ["/auth/token/revoke", "/auth/token/revoke/"])
def test_a_revoked_token_refreshes_no_more(
    client: Client, user: User, path: str
) -> None:
    refresh = str(RefreshToken.for_user(user))

    assert post(client, path, {"refresh": refresh}).status_code == 200
    answer = post(client, "/auth/token/refresh", {"refresh": refresh})

    assert answer.status_code == 401


# --- register --------------------------------------------------------------------


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


# --- limits ----------------------------------------------------------------------


def test_the_eleventh_attempt_on_an_account_is_over_the_limit(
    client: Client, user: User
) -> None:
    for _ in range(10):
        assert log_in(client, "ada", "wrong").status_code == 401

    answer = log_in(client, "ada")

    assert answer.status_code == 429
    assert answer.json() == {
        "error": "Rate limit exceeded",
        "code": "rate_limited",
        "retryAfter": int(answer.headers["Retry-After"]),
    }
    assert 1 <= answer.json()["retryAfter"] <= 60


def test_another_account_is_not_slowed_by_the_first(client: Client, user: User) -> None:
    for _ in range(11):
        log_in(client, "mallory", "wrong")

    assert log_in(client, "ada").status_code == 200


def test_one_address_cannot_try_account_after_account(
    client: Client, user: User, settings: Any
) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"login_attempts_per_minute": 2}
    for number in range(10):
        log_in(client, f"user{number}", "wrong")

    assert log_in(client, "ada").status_code == 429


def test_many_addresses_cannot_try_one_account(
    client: Client, user: User, settings: Any
) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"login_attempts_per_minute": 2}
    for number in range(10):
        client.defaults["REMOTE_ADDR"] = f"192.0.2.{number}"
        log_in(client, "ada", "wrong")
    client.defaults["REMOTE_ADDR"] = "198.51.100.1"

    assert log_in(client, "ada").status_code == 429


def test_an_ipv6_client_is_counted_by_its_network(
    client: Client, user: User, settings: Any
) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"login_attempts_per_minute": 2}
    for number in range(2):
        client.defaults["REMOTE_ADDR"] = f"2001:db8::{number}"
        log_in(client, "ada", "wrong")
    client.defaults["REMOTE_ADDR"] = "2001:db8::99"

    assert log_in(client, "ada").status_code == 429


def test_mapped_addresses_count_as_what_they_stand_for(
    client: Client, user: User, settings: Any
) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"login_attempts_per_minute": 2}
    statuses = []
    for address in ("::ffff:192.0.2.7", "192.0.2.7", "::ffff:c000:207"):
        client.defaults["REMOTE_ADDR"] = address
        statuses.append(log_in(client, "ada", "wrong").status_code)
    client.defaults["REMOTE_ADDR"] = "::ffff:192.0.2.8"

    assert statuses == [401, 401, 429]
    assert log_in(client, "ada").status_code == 200


@pytest.mark.parametrize(
    ("first", "same", "other"),
    [
        ("192.0.2.7:4711", "192.0.2.7:4712", "192.0.2.8:4711"),
        ("[2001:db8::1]:4711", "[2001:db8::2]:1", "[2001:db8:1::1]:4711"),
        ("2001:db8::1", "[2001:db8::1]:80", "2001:db8:1::1"),
    ],
)
def test_an_address_with_a_port_counts_as_the_address(
    client: Client, user: User, settings: Any, first: str, same: str, other: str
) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"login_attempts_per_minute": 2}
    statuses = []
    for address in (first, first, same):
        client.defaults["REMOTE_ADDR"] = address
        statuses.append(log_in(client, "ada", "wrong").status_code)
    client.defaults["REMOTE_ADDR"] = other

    assert statuses == [401, 401, 429]
    assert log_in(client, "ada").status_code == 200


def test_the_limit_can_be_switched_off(
    client: Client, user: User, settings: Any
) -> None:
    settings.LLMCHAT = settings.LLMCHAT | {"login_attempts_per_minute": 0}
    for _ in range(20):
        log_in(client, "ada", "wrong")

    assert log_in(client, "ada").status_code == 200


@pytest.mark.parametrize("path", ["/admin/login/", "/admin/login/?next=/admin/"])
def test_the_admin_log_in_has_the_same_limit(
    client: Client, user: User, path: str
) -> None:
    form = {"username": "ada", "password": "wrong"}
    for _ in range(10):
        assert client.post(path, form).status_code == 200

    answer = client.post(path, form)

    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1


def test_an_operator_logs_in_to_the_admin(client: Client) -> None:
    User.objects.create_superuser("root", password=PASSWORD)

    answer = client.post(
        "/admin/login/?next=/admin/", {"username": "root", "password": PASSWORD}
    )

    assert answer.status_code == 302
    assert client.get("/admin/").status_code == 200


def test_the_admin_is_found_without_its_slash(client: Client) -> None:
    assert client.get("/admin").headers["Location"] == "/admin/"
    assert client.get("/admin/auth?x=1").headers["Location"] == "/admin/auth/?x=1"


def test_an_error_reads_as_its_text() -> None:
    assert str(CredentialsError()) == "Username or password is wrong"
