"""Pairs of tokens that never arrive: for a moment, the old refresh token works again.

A page that is reloaded in the middle of a refresh has only the old token.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from rest_framework_simplejwt.token_blacklist.models import (
    BlacklistedToken,
    OutstandingToken,
)
from rest_framework_simplejwt.tokens import RefreshToken

from accounts import tokens
from accounts.errors import TokenError
from accounts.models import User
from tests.support.log_in import post

pytestmark = pytest.mark.django_db(transaction=True)

MOST_PAIRS = 20


def refreshed(old: str) -> str:
    return tokens.rotate_refresh_token(raw=old).refresh


def is_refused(old: str) -> bool:
    try:
        tokens.rotate_refresh_token(raw=old)
    except TokenError as exc:
        return exc.code == "token_invalid"
    return False


def let_time_pass(**time: float) -> None:
    """Move the use of all used tokens back by this time."""
    for row in BlacklistedToken.objects.all():
        row.blacklisted_at -= timedelta(**time)
        row.save()


@pytest.fixture
def old(user: User) -> str:
    return tokens.issue_tokens(user=user).refresh


def test_a_token_whose_pair_is_lost_is_exchanged_again(old: str) -> None:
    refreshed(old)
    let_time_pass(seconds=89)

    kept = refreshed(old)

    assert not is_refused(kept)


def test_so_is_one_from_before_families(user: User) -> None:
    old = str(RefreshToken.for_user(user))
    refreshed(old)

    assert not is_refused(refreshed(old))


def test_each_of_several_lost_in_a_row_is_exchanged_again(old: str) -> None:
    for _ in range(3):
        refreshed(old)
        old = refreshed(old)

    assert not is_refused(old)


def test_the_moment_is_that_of_the_first_exchange(
    old: str, user: User, caplog: pytest.LogCaptureFixture
) -> None:
    refreshed(old)
    let_time_pass(seconds=80)
    kept = refreshed(old)
    let_time_pass(seconds=11)

    assert is_refused(old)

    assert is_refused(kept)
    assert f"a refresh token of user {user.pk} was used twice" in caplog.text


def valid() -> set[str]:
    """Return the ids of the refresh tokens that are still valid."""
    rows = OutstandingToken.objects.filter(blacklistedtoken__isnull=True)
    return set(rows.values_list("jti", flat=True))


def test_the_first_pair_that_is_used_ends_the_others(old: str) -> None:
    pairs = [refreshed(old) for _ in range(3)]

    newest = refreshed(pairs[1])

    assert valid() == {RefreshToken(newest)["jti"]}
    assert not is_refused(newest)


@pytest.mark.parametrize("order", ["".join(order) for order in product("to", repeat=5)])
def test_of_two_who_hold_a_token_none_goes_on_when_one_is_refused(
    old: str, order: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A thief and the owner refresh in any order, each with their latest token."""
    latest = {"t": old, "o": old}
    refused = []
    for who in order:
        try:
            latest[who] = refreshed(latest[who])
            refused.append(False)
        except TokenError:
            refused.append(True)

    assert refused == sorted(refused)
    both_have_used_a_pair = min(map(order.count, "to")) >= 2
    assert any(refused) or not both_have_used_a_pair
    assert ("used twice" in caplog.text) == any(refused)
    assert not any(refused) or valid() == set()


def test_of_two_who_hold_a_pair_both_are_out_when_the_second_refreshes(
    old: str,
) -> None:
    """One of the two is a thief, who was quick."""
    stolen, own = refreshed(old), refreshed(old)
    newest = refreshed(stolen)
    let_time_pass(minutes=30)

    assert is_refused(own)

    assert is_refused(newest)


def test_who_has_not_heard_of_the_log_out_is_no_thief(
    old: str, caplog: pytest.LogCaptureFixture
) -> None:
    new = refreshed(old)
    tokens.revoke_refresh_token(raw=new)

    assert is_refused(new)

    assert "used twice" not in caplog.text


def log_out(user: User, old: str, new: str) -> None:
    tokens.revoke_refresh_token(raw=new)


def log_out_with_the_old(user: User, old: str, new: str) -> None:
    with pytest.raises(TokenError):
        tokens.revoke_refresh_token(raw=old)


def set_a_password(user: User, old: str, new: str) -> None:
    user.set_password("another long password")
    user.save()


def be_deactivated(user: User, old: str, new: str) -> None:
    User.objects.update(is_active=False)


def be_deleted(user: User, old: str, new: str) -> None:
    user.delete()


@pytest.mark.parametrize(
    "end",
    [log_out, log_out_with_the_old, set_a_password, be_deactivated, be_deleted],
)
def test_nothing_is_exchanged_again_behind_the_end(
    user: User, old: str, end: Callable[..., None]
) -> None:
    lost, new = refreshed(old), refreshed(old)

    end(user, old, new)

    assert [is_refused(token) for token in (old, lost, new)] == [True] * 3
    assert is_refused(old)


def test_a_token_that_was_revoked_is_not_exchanged(old: str) -> None:
    tokens.revoke_refresh_token(raw=old)

    assert is_refused(old)


def test_another_log_in_of_the_user_stays_as_it_is(user: User, old: str) -> None:
    other = tokens.issue_tokens(user=user).refresh
    refreshed(old)
    tokens.revoke_refresh_token(raw=refreshed(old))

    assert not is_refused(other)


def test_not_without_end(old: str) -> None:
    given = [refreshed(old) for _ in range(MOST_PAIRS)]

    assert is_refused(old)

    assert is_refused(given[0])  # a thief may have taken all but the last


# --- At the same time ------------------------------------------------------------


def at_once(raws: list[str]) -> list[Any]:
    """Refresh all tokens at the same time, each on a database connection of its own."""

    def refresh(raw: str) -> Any:
        try:
            return post(Client(), "/auth/token/refresh", {"refresh": raw})
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(raws)) as pool:
        answers = list(pool.map(refresh, raws))
    # On a busy machine, the last requests wait too long for the user's row.
    assert {answer.status_code for answer in answers} <= {200, 401, 503}
    return [answer.json() for answer in answers if answer.status_code == 200]


def test_all_who_refresh_at_once_get_a_pair_and_the_last_one_is_kept(
    old: str,
) -> None:
    """This is what tabs without a lock do; they share the pair that is stored last."""
    pairs = at_once([old] * 8)
    assert len({pair["refresh"] for pair in pairs}) == len(pairs) > 1

    newest = refreshed(pairs[-1]["refresh"])

    assert valid() == {RefreshToken(newest)["jti"]}


def test_of_all_who_use_pairs_of_their_own_at_once_one_gets_another(
    old: str,
) -> None:
    pairs = [refreshed(old) for _ in range(4)]

    assert len(at_once(pairs)) == 1


def test_whoever_refreshes_while_the_user_logs_out_is_out(user: User, old: str) -> None:
    """This holds in either order."""
    new = refreshed(old)

    def leave() -> None:
        try:
            tokens.revoke_refresh_token(raw=new)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        leaving = pool.submit(leave)
        pairs = at_once([old] * 4)
        leaving.result()

    assert all(is_refused(pair["refresh"]) for pair in pairs)
    assert is_refused(old)
