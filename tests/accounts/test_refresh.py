"""Refresh tokens: rotation, reuse and revocation over REST."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from accounts import revocation
from accounts.models import User
from tests.support.log_in import log_in, post

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_refresh_token_is_traded_for_a_new_pair(client: Client, user: User) -> None:
    old = log_in(client, "ada").json()["refresh"]

    answer = post(client, "/auth/token/refresh", {"refresh": old})

    assert answer.status_code == 200
    assert answer.json()["refresh"] != old
    assert AccessToken(answer.json()["access"])["user_id"] == str(user.pk)


def test_a_refresh_token_serves_once(client: Client, user: User) -> None:
    old = log_in(client, "ada").json()["refresh"]
    post(client, "/auth/token/refresh/", {"refresh": old})
    long_ago = timezone.now() - revocation._REUSE_GRACE - timedelta(seconds=1)
    BlacklistedToken.objects.update(blacklisted_at=long_ago)

    again = post(client, "/auth/token/refresh", {"refresh": old})

    assert again.status_code == 401
    assert again.json()["code"] == "token_invalid"


def test_a_used_refresh_token_is_reported_to_the_operator(
    client: Client, user: User, caplog: pytest.LogCaptureFixture
) -> None:
    old = log_in(client, "ada").json()["refresh"]
    post(client, "/auth/token/refresh", {"refresh": old})
    long_ago = timezone.now() - revocation._REUSE_GRACE - timedelta(seconds=1)
    BlacklistedToken.objects.update(blacklisted_at=long_ago)
    post(client, "/auth/token/refresh", {"refresh": old})

    assert f"a refresh token of user {user.pk} was used twice" in caplog.text
    assert old not in caplog.text


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
