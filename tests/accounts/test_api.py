"""The addresses below /auth/, requested as a program does."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import hashers
from django.test import Client
from rest_framework_simplejwt.tokens import AccessToken

from accounts.errors import CredentialsError
from accounts.models import User
from tests.support.log_in import PASSWORD, log_in, post

pytestmark = pytest.mark.django_db(transaction=True)


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
        ("put", "/auth/me/"),
        ("get", "/auth/password"),
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
