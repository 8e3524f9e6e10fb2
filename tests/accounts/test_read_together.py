"""Users who keep sending requests are read together, and no change is missed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from rest_framework_simplejwt.tokens import AccessToken

from accounts import remembered as module
from accounts import tokens
from accounts.errors import TokenError
from accounts.models import User
from accounts.remembered import DUE_S, KEPT_S, MOST_DUE, Remembered
from accounts.tokens import known, user_for_token
from accounts.verified import Verified

pytestmark = pytest.mark.django_db(transaction=True)

LIMIT_S = 60.0


class Clock:
    """A clock that shows the same time until a test sets another."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Remembered:
    fresh = Remembered(clock)
    monkeypatch.setattr(module, "remembered", fresh)
    monkeypatch.setattr(tokens, "remembered", fresh)
    return fresh


@pytest.fixture
def users() -> list[User]:
    return [User.objects.create_user(f"user{number}") for number in range(4)]


@pytest.fixture
def read(memory: Remembered, users: list[User]) -> list[str]:
    """Return the tokens of users who were all read, and have asked again."""
    raws = [str(AccessToken.for_user(user)) for user in users]
    for raw in raws * 2:
        user_for_token(raw)
    return raws


def queries_of(raw: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        user_for_token(raw)
    return len(queries)


def is_refused(raw: str) -> bool:
    try:
        user_for_token(raw)
    except TokenError:
        return True
    return False


def in_thread(call: Callable[..., Any], *args: Any) -> Any:
    """Run a call in a thread, thus with another connection to the database."""

    def run() -> Any:
        try:
            return call(*args)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(run).result(LIMIT_S)


def test_one_query_reads_all_who_have_asked_again(
    clock: Clock, read: list[str]
) -> None:
    clock.now += KEPT_S

    assert [queries_of(raw) for raw in read] == [1, 0, 0, 0]
    assert all(known(raw) is not None for raw in read)
    clock.now += KEPT_S - 0.01
    assert [queries_of(raw) for raw in read] == [0, 0, 0, 0]
    clock.now += 0.01
    assert not any(known(raw) for raw in read)


def test_a_connect_that_reads_nothing_counts_as_asking(
    clock: Clock, memory: Remembered, users: list[User]
) -> None:
    raws = [str(AccessToken.for_user(user)) for user in users]
    for raw in raws:
        user_for_token(raw)
    assert known(raws[0]) is not None
    clock.now += KEPT_S

    assert [queries_of(raws[at]) for at in (3, 0, 1)] == [1, 0, 1]


def test_who_has_not_asked_again_is_not_read_along(
    clock: Clock, read: list[str]
) -> None:
    clock.now += KEPT_S
    assert queries_of(read[0]) == 1
    assert known(read[1]) is not None
    clock.now += KEPT_S

    assert [queries_of(read[at]) for at in (0, 1, 2, 3)] == [1, 0, 1, 1]


def test_whose_time_is_nearly_over_is_read_along_and_no_other(
    clock: Clock, memory: Remembered, users: list[User]
) -> None:
    first, second, third, late = (str(AccessToken.for_user(user)) for user in users)
    for raw, after in ((first, 0.0), (second, 0.5), (third, 0.1)):
        clock.now += after * KEPT_S
        assert queries_of(raw) == 1
        assert queries_of(raw) == 0
    # That is 0.4 before the end of the first one's time, and 0.9 of the second's.
    assert queries_of(late) == 1

    clock.now += 0.4 * KEPT_S
    assert queries_of(first) == 0
    clock.now += 0.45 * KEPT_S
    assert queries_of(second) == 0
    clock.now += 0.1 * KEPT_S
    assert queries_of(second) == 1


def test_those_read_along_are_bounded(clock: Clock, memory: Remembered) -> None:
    asked: list[list[int]] = []

    def load(user_id: int, others: list[int]) -> Iterator[User]:
        asked.append(others)
        return (User(pk=pk) for pk in (user_id, *others))

    number = MOST_DUE + 20
    for pk in range(1, number + 1):
        memory.read_due(pk, load)
        assert memory.is_known(pk, 0)
    assert asked == [[]] * number
    clock.now += DUE_S

    for pk in (1000, 1001, 1002):
        memory.read_due(pk, load)

    oldest = list(range(1, number + 1))
    assert asked[number:] == [oldest[:MOST_DUE], oldest[MOST_DUE:], []]
    assert len(memory) == number + 3


def test_a_number_that_no_user_can_have_disturbs_nobody(
    clock: Clock, read: list[str]
) -> None:
    clock.now += KEPT_S

    for number in (10**30, -(10**30), 2**63, 0):
        with pytest.raises(TokenError, match="Authentication token invalid"):
            tokens.active_user(Verified(number, 0.0))

    assert [queries_of(raw) for raw in read] == [0, 0, 0, 0]


def test_every_caller_gets_a_user_of_its_own(clock: Clock, read: list[str]) -> None:
    clock.now += KEPT_S
    user, _ = user_for_token(read[0])
    user.is_active = False
    user.email = "changed@example.com"

    assert user_for_token(read[0])[0].email == ""
    first, second = (user_for_token(read[1])[0] for _ in range(2))
    assert first is not second


# --- Changes -----------------------------------------------------------------------


def deactivate(user: User) -> None:
    user.is_active = False
    user.save()


def deactivate_silently(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def replace_password(user: User) -> None:
    user.set_password("correct horse battery")
    user.save()


def delete(user: User) -> None:
    user.delete()


CHANGES = pytest.mark.parametrize("change", [deactivate, replace_password, delete])


@CHANGES
def test_who_was_read_along_and_changes_is_refused_at_once(
    clock: Clock, read: list[str], users: list[User], change: Callable[[User], None]
) -> None:
    clock.now += KEPT_S
    user_for_token(read[0])
    change(users[1])

    assert [is_refused(raw) for raw in read] == [False, True, False, False]


@pytest.mark.parametrize("change", [deactivate_silently])
def test_who_was_changed_elsewhere_is_dropped_when_others_are_read(
    clock: Clock, read: list[str], users: list[User], change: Callable[[User], None]
) -> None:
    clock.now += KEPT_S - 0.01
    change(users[1])
    assert known(read[1]) is not None  # its second is not over
    late = User.objects.create_user("late")
    user_for_token(str(AccessToken.for_user(late)))

    assert known(read[1]) is None
    assert [is_refused(raw) for raw in read] == [False, True, False, False]
    assert [queries_of(read[at]) for at in (0, 2, 3)] == [0, 0, 0]


def overtaken(change: Callable[[], None]) -> Callable[..., Iterable[User]]:
    """Return what loads users, and lets a change overtake it before they are kept."""

    def load(user_id: int, others: list[int]) -> Iterable[User]:
        found = list(tokens._active_users(user_id, others))
        in_thread(change)
        return found

    return load


@CHANGES
def test_none_of_those_read_together_is_kept_if_one_changes_meanwhile(
    clock: Clock,
    memory: Remembered,
    read: list[str],
    users: list[User],
    change: Callable[[User], None],
) -> None:
    clock.now += KEPT_S
    user = memory.read_due(users[0].pk, overtaken(lambda: change(users[1])))

    assert user == users[0]
    assert [known(raw) for raw in read] == [None] * 4
    assert [is_refused(raw) for raw in read] == [False, True, False, False]


def test_an_older_read_does_not_replace_a_later_one(
    clock: Clock, memory: Remembered, read: list[str], users: list[User]
) -> None:
    """The change is made in another process, so that this one is not notified."""

    def change() -> None:
        row = User.objects.filter(pk=users[1].pk)
        row.update(token_generation=1)
        clock.now += 0.1
        assert memory.read(row.get).token_generation == 1

    clock.now += KEPT_S
    memory.read_due(users[0].pk, overtaken(change))

    assert memory.is_known(users[0].pk, 0)
    assert memory.is_known(users[1].pk, 1)
    assert not memory.is_known(users[1].pk, 0)


def test_who_was_let_in_again_meanwhile_is_let_in(
    clock: Clock, memory: Remembered, read: list[str], users: list[User]
) -> None:
    user = users[1]
    deactivate_silently(user)

    def change() -> None:
        user.is_active = True
        user.save()
        user_for_token(read[1])

    clock.now += KEPT_S
    memory.read_due(users[0].pk, overtaken(change))

    assert [is_refused(raw) for raw in read] == [False] * 4


def test_the_second_begins_before_any_of_them_is_read(
    clock: Clock, memory: Remembered, read: list[str], users: list[User]
) -> None:
    def pass_time() -> None:
        clock.now += KEPT_S

    clock.now += KEPT_S
    memory.read_due(users[0].pk, overtaken(pass_time))

    assert [known(raw) for raw in read] == [None] * 4


def test_after_a_query_that_failed_all_are_read_again(
    clock: Clock, memory: Remembered, read: list[str], users: list[User]
) -> None:
    def fail(user_id: int, others: list[int]) -> list[User]:
        raise OSError("no database")

    clock.now += KEPT_S
    with pytest.raises(OSError, match="no database"):
        memory.read_due(users[0].pk, fail)

    assert [queries_of(raw) for raw in read] == [1, 1, 1, 1]


@CHANGES
def test_no_reader_brings_back_a_user_who_has_changed(
    change: Callable[[User], None],
    users: list[User],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With several threads, in which each moment is one of a read."""
    beats = iter(range(10**9))
    fresh = Remembered(lambda: next(beats) * KEPT_S / 16)
    monkeypatch.setattr(module, "remembered", fresh)
    monkeypatch.setattr(tokens, "remembered", fresh)
    raws = [str(AccessToken.for_user(user)) for user in users]
    over = threading.Event()

    def keep_reading() -> int:
        count = 0
        while not over.is_set():
            for raw in raws:
                count += not is_refused(raw)
        return count

    def change_each() -> list[bool]:
        refused = []
        for user, raw in zip(users[1:], raws[1:], strict=True):
            assert not is_refused(raw)
            change(user)
            refused += [is_refused(raw) for _ in range(20)]
        return refused

    def closing(call: Callable[[], Any]) -> Any:
        try:
            return call()
        finally:
            over.set()
            connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(closing, keep_reading) for _ in range(3)]
        refused = threads.submit(closing, change_each).result(LIMIT_S)
        counts = [reader.result(LIMIT_S) for reader in readers]

    assert refused == [True] * 60
    assert all(counts)
    assert not is_refused(raws[0])
