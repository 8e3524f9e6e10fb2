"""The one function that turns a token into its user, for REST and for sockets."""

from __future__ import annotations

import time
from datetime import timedelta
from types import SimpleNamespace

import jwt
import pytest
from django.conf import settings
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from accounts import tokens
from accounts.errors import TokenError
from accounts.models import User
from accounts.tokens import bearer_token, user_for_token

pytestmark = pytest.mark.django_db(transaction=True)


def _claims(user: User, **changes: object) -> dict[str, object]:
    now = int(time.time())
    claims: dict[str, object] = {
        "token_type": "access",
        "exp": now + 60,
        "iat": now,
        "jti": "0" * 32,
        "user_id": str(user.pk),
    }
    return claims | changes


def _signed(claims: dict[str, object], key: str | None = None) -> str:
    return jwt.encode(claims, key or settings.SECRET_KEY, algorithm="HS256")


def test_an_access_token_names_its_user_and_its_end(user: User) -> None:
    token = AccessToken.for_user(user)

    found, verified = user_for_token(str(token))

    assert found == user
    assert verified.expires_at == token["exp"]
    assert verified.expires_at > time.time()


def test_a_token_that_was_good_before_ends_in_time(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = AccessToken.for_user(user)
    assert user_for_token(str(token))[0] == user
    ended = SimpleNamespace(time=lambda: float(token["exp"]))
    monkeypatch.setattr(tokens, "time", ended)

    with pytest.raises(TokenError) as caught:
        user_for_token(str(token))

    assert caught.value.code == "token_expired"


def test_the_user_of_a_token_that_was_good_before_is_asked_for_again(
    user: User,
) -> None:
    token = str(AccessToken.for_user(user))
    assert user_for_token(token)[0] == user
    user.is_active = False
    user.save()

    with pytest.raises(TokenError) as caught:
        user_for_token(token)

    assert caught.value.code == "token_invalid"


@pytest.mark.parametrize("raw", [None, ""])
def test_no_token_is_a_missing_one(raw: object) -> None:
    with pytest.raises(TokenError) as caught:
        user_for_token(raw)

    assert caught.value.code == "token_missing"
    assert caught.value.text == "Authentication token missing"


def test_a_token_past_its_end_is_expired(user: User) -> None:
    token = AccessToken.for_user(user)
    token.set_exp(lifetime=timedelta(seconds=-1))

    with pytest.raises(TokenError) as caught:
        user_for_token(str(token))

    assert caught.value.code == "token_expired"
    assert caught.value.text == "Authentication token expired"


@pytest.mark.parametrize(
    "raw", ["nonsense", "a.b.c", "\u0000", "é" * 50, 17, True, {"a": 1}, ["x"], b"x"]
)
def test_what_is_no_token_is_invalid(raw: object) -> None:
    with pytest.raises(TokenError) as caught:
        user_for_token(raw)

    assert caught.value.code == "token_invalid"


@pytest.mark.parametrize(
    "changes",
    [
        {"token_type": "refresh"},
        {"token_type": None},
        {"user_id": "nobody"},
        {"user_id": {}},
        {"user_id": 10**30},
        {"user_id": "999999"},
        {"exp": "soon"},
        {"exp": 1e300},
    ],
)
def test_a_token_with_wrong_claims_is_invalid(
    user: User, changes: dict[str, object]
) -> None:
    with pytest.raises(TokenError) as caught:
        user_for_token(_signed(_claims(user, **changes)))

    assert caught.value.code == "token_invalid"


@pytest.mark.parametrize("claim", ["exp", "jti", "token_type", "user_id"])
def test_a_token_without_a_claim_is_invalid(user: User, claim: str) -> None:
    claims = _claims(user)
    del claims[claim]

    with pytest.raises(TokenError) as caught:
        user_for_token(_signed(claims))

    assert caught.value.code == "token_invalid"


def test_a_token_of_another_key_is_invalid(user: User) -> None:
    with pytest.raises(TokenError) as caught:
        user_for_token(_signed(_claims(user), key="another-secret-" * 4))

    assert caught.value.code == "token_invalid"


def test_an_unsigned_token_is_invalid(user: User) -> None:
    unsigned = jwt.encode(_claims(user), None, algorithm="none")

    with pytest.raises(TokenError) as caught:
        user_for_token(unsigned)

    assert caught.value.code == "token_invalid"


def test_a_refresh_token_opens_no_door(user: User) -> None:
    with pytest.raises(TokenError) as caught:
        user_for_token(str(RefreshToken.for_user(user)))

    assert caught.value.code == "token_invalid"


def test_an_inactive_user_is_told_no_more_than_a_stranger(user: User) -> None:
    token = str(AccessToken.for_user(user))
    User.objects.update(is_active=False)

    with pytest.raises(TokenError) as caught:
        user_for_token(token)

    assert caught.value.code == "token_invalid"
    assert caught.value.text == "Authentication token invalid"


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (None, ""),
        ("", ""),
        ("Basic YTpi", ""),
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
    ],
)
def test_the_header_holds_a_bearer_token_or_none(
    header: str | None, token: str
) -> None:
    assert bearer_token(header) == token


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer a b"])
def test_a_bearer_header_without_one_token_is_invalid(header: str) -> None:
    with pytest.raises(TokenError) as caught:
        bearer_token(header)

    assert caught.value.code == "token_invalid"
