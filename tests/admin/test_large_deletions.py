"""Deletions that take longer than a request may: in parts, and counted once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.contrib.admin import ModelAdmin
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test import Client
from django.urls import reverse

from accounts import audit
from accounts.models import User
from llmchat import database
from llmchat.admin import conversations as conversations_admin
from llmchat.answers import notices, runtime, stopping
from llmchat.books import past
from llmchat.models import Conversation, Message
from llmchat.reports import usage
from tests.support.admin_fixtures import make_conversation
from tests.support.deletion import delete_users

pytestmark = pytest.mark.django_db(transaction=True)

CHATS = "/admin/llmchat/conversation/"
USERS = "/admin/accounts/user/"
USED = {"input_tokens": 100, "output_tokens": 50, "cost": Decimal("0.25")}
DEACTIVATED = "deactivated. To keep what is left of one, make it active again."
SLOW = """
    CREATE FUNCTION slow_delete() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_sleep(0.05); RETURN OLD; END $$;
    CREATE TRIGGER slow_delete BEFORE DELETE ON llmchat_message
        FOR EACH ROW EXECUTE FUNCTION slow_delete();"""
QUICK = """
    DROP TRIGGER slow_delete ON llmchat_message;
    DROP FUNCTION slow_delete();"""


@pytest.fixture
def bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delete two conversations per transaction, in one transaction per request."""
    monkeypatch.setattr(stopping, "MOST_CONVERSATIONS", 2)
    monkeypatch.setattr(stopping, "BEGINS_S", 0.0)


@pytest.fixture
def ada(transactional_db: None) -> User:
    """A user with five conversations on two days, one of which failed."""
    cache.clear()
    ada = User.objects.create_user("ada")
    for day in range(4):
        make_conversation(ada, ago=timedelta(days=day % 2), **USED)
    make_conversation(ada, state="error", **USED)
    return ada


def execute(statements: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statements)


@pytest.fixture
def slow_rows(transactional_db: None) -> Iterator[None]:
    """Make PostgreSQL take 50 ms for each message that it deletes."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no deadline of a statement")
    execute(SLOW)
    yield
    execute(QUICK)


def delete(client: Client, user: User) -> Any:
    url = reverse("admin:accounts_user_delete", args=[user.pk])
    return client.post(url, {"post": "yes"})


def select(client: Client, page: str, rows: list[Any], **fields: str) -> Any:
    chosen = {"action": "delete_selected", "_selected_action": [row.pk for row in rows]}
    return client.post(page, chosen | fields)


def said(client: Client) -> str:
    """Return the messages that the next page shows."""
    line = r"[^>]*\b[\d,]+ conversations?\b.*"
    return " ".join(re.findall(line, client.get(USERS).text))


def entries(flag: int) -> list[tuple[str, str]]:
    rows = LogEntry.objects.filter(action_flag=flag).order_by("pk")
    return list(rows.values_list("object_id", "change_message"))


# --- An account ------------------------------------------------------------------


def test_an_account_that_one_statement_would_not_do_for_is_deleted(
    boss: Client, ada: User, slow_rows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(35):
        make_conversation(ada)
    monkeypatch.setattr(stopping, "MOST_CONVERSATIONS", 10)
    monkeypatch.setattr(stopping, "_BATCH_S", 3.0)
    monkeypatch.setattr(database, "DEADLINE_S", 3.0)

    # It takes 4 s; in one transaction it would be a 503.
    assert delete(boss, ada).status_code == 302

    assert not User.objects.filter(pk=ada.pk).exists()


def test_an_account_is_deleted_by_as_many_requests_as_it_takes(
    boss: Client, ada: User, bit_by_bit: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[object, ...]] = []
    monkeypatch.setattr(runtime, "tell_soon", lambda *args: told.append(args))
    before = usage.measure().total

    for done, left in ((2, 3), (2, 1)):
        answer = delete(boss, ada)
        assert answer.headers["Location"] == f"{USERS}{ada.pk}/delete/"
        page = boss.get(answer.headers["Location"])
        assert f"{done} conversations deleted, {left} left: delete" in page.text
        assert DEACTIVATED in page.text
        ada.refresh_from_db()
        assert not ada.is_active
        assert ada.conversations.count() == left
        assert usage.measure().total == before
        assert told == [(notices.LOOK, ada.pk)]  # its sockets are closed immediately
        assert entries(CHANGE) == [(str(ada.pk), "Deactivated, to be deleted.")]
        assert entries(DELETION) == []
    assert delete(boss, ada).headers["Location"] == USERS

    assert not User.objects.filter(pk=ada.pk).exists()
    assert not Message.objects.exists()
    assert usage.measure().total == before
    assert entries(DELETION) == [(str(ada.pk), "")]


def test_a_deletion_that_breaks_off_counts_nothing_twice(
    boss: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = usage.measure().total
    move, moved = past.move, []

    def fail(which: Any) -> int:
        moved.append(move(which))
        if len(moved) == 2:
            raise OperationalError("the server is gone")
        return moved[-1]

    monkeypatch.setattr(stopping, "MOST_CONVERSATIONS", 2)
    monkeypatch.setattr(past, "move", fail)

    assert delete(boss, ada).status_code == 503
    assert ada.conversations.count() == 3
    assert usage.measure().total == before
    assert delete(boss, ada).status_code == 302
    assert not User.objects.filter(pk=ada.pk).exists()
    assert usage.measure().total == before


def test_a_deletion_whose_last_transaction_breaks_off_is_noted_once(
    boss: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = audit.keep

    def fail(*_: object) -> None:
        monkeypatch.setattr(audit, "keep", keep)
        raise OperationalError("the server is gone")

    monkeypatch.setattr(audit, "keep", fail)
    assert select(boss, USERS, [ada], post="yes").status_code == 503
    assert User.objects.filter(pk=ada.pk).exists()
    assert entries(DELETION) == []
    assert select(boss, USERS, [ada], post="yes").status_code == 302

    assert not User.objects.filter(pk=ada.pk).exists()
    assert [ident for ident, _ in entries(DELETION)] == [str(ada.pk)]


def test_who_deletes_themself_may_come_back_to_go_on(
    ada: User, bit_by_bit: None
) -> None:
    client = Client()
    User.objects.filter(pk=ada.pk).update(is_staff=True, is_superuser=True)
    client.force_login(User.objects.get(pk=ada.pk))

    delete(client, ada)
    assert ada.conversations.count() == 3
    assert "2 conversations deleted, 3 left: delete" in said(client)
    assert DEACTIVATED not in client.get(USERS).text
    delete(client, ada)
    delete(client, ada)

    assert not User.objects.filter(pk=ada.pk).exists()


def test_accounts_of_a_list_of_active_ones_are_deleted(
    boss: Client, ada: User, bit_by_bit: None
) -> None:
    """They are no longer in the list once they have been deactivated."""
    bob = User.objects.create_user("bob")
    make_conversation(bob)
    for _ in range(2):
        answer = select(boss, f"{USERS}?is_active__exact=1", [bob], post="yes")
        assert answer.status_code == 302
    assert not User.objects.filter(pk=bob.pk).exists()

    answer = select(boss, f"{USERS}?is_active__exact=1", [ada], post="yes")
    assert answer.headers["Location"] == USERS
    told = said(boss)
    assert "2 conversations deleted, 3 left: delete" in told
    assert DEACTIVATED in told
    for _ in range(2):
        select(boss, USERS, [ada], post="yes")

    assert list(User.objects.values_list("username", flat=True)) == ["boss"]


def test_an_account_that_may_not_be_deleted_keeps_everything(
    ada: User, bit_by_bit: None
) -> None:
    User.objects.filter(pk=ada.pk).update(is_superuser=True)
    client, clerk = Client(), User.objects.create_user("clerk", is_staff=True)
    names = ("delete_user", "view_user")
    clerk.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(clerk)

    assert delete(client, ada).status_code == 403
    assert select(client, USERS, [ada], post="yes").status_code == 403

    assert_untouched(ada)


def test_who_may_only_view_accounts_empties_none(ada: User) -> None:
    client, clerk = Client(), User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename="view_user"))
    client.force_login(clerk)

    assert delete(client, ada).status_code == 403

    assert_untouched(ada)


def test_accounts_that_are_selected_with_the_audit_s_keep_everything(
    boss: Client, ada: User
) -> None:
    keeper = User.objects.create_user(audit.DELETED, is_active=False)

    answer = select(boss, USERS, [keeper, ada], post="yes")

    assert "(deleted): the audit entries of other accounts" in answer.text
    assert_untouched(ada)


def test_accounts_and_conversations_that_are_only_asked_about_stay(
    boss: Client, ada: User
) -> None:
    """Django does not take an empty `post` for a confirmation."""
    for page, row in ((USERS, ada), (CHATS, ada.conversations.first())):
        assert "Are you sure" in select(boss, page, [row], post="").text
    assert_untouched(ada)


def assert_untouched(user: User) -> None:
    user.refresh_from_db()
    assert user.is_active
    assert user.conversations.count() == 5


def test_a_command_takes_as_long_as_it_needs(
    ada: User, bit_by_bit: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "is_serving", False)
    delete_users(User.objects.filter(pk=ada.pk))
    assert not User.objects.filter(pk=ada.pk).exists()


# --- Conversations ---------------------------------------------------------------


def test_a_selection_is_deleted_by_as_many_requests_as_it_takes(
    boss: Client, ada: User, bit_by_bit: None
) -> None:
    rows = list(ada.conversations.all())
    before = usage.measure().total

    for done, left in ((2, 3), (2, 1)):
        page = select(boss, CHATS, rows, post="yes")
        text = f"{done} conversations deleted, {left} left: delete again"
        assert text in page.text
        assert "Are you sure" in page.text  # it asks about the rest
        kept = set(ada.conversations.values_list("pk", flat=True))
        assert set(map(UUID, selected_on(page))) == kept
        assert len(kept) == left
        assert usage.measure().total == before
        gone = {str(row.pk) for row in rows if row.pk not in kept}
        assert {ident for ident, _ in entries(DELETION)} == gone
    assert select(boss, CHATS, rows, post="yes").status_code == 302

    assert "Deleted 1 conversation." in said(boss)
    assert not Message.objects.exists()
    assert usage.measure().total == before
    assert len(entries(DELETION)) == len(rows)
    ada.refresh_from_db()
    assert ada.is_active


def selected_on(page: Any) -> list[str]:
    """Return which rows the form of a page would delete."""
    return re.findall(r'name="_selected_action" value="([^"]+)"', page.text)


def test_more_than_a_page_can_ask_about_are_deleted_one_part_after_the_other(
    boss: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations_admin, "MAX_SELECTED", 3)
    row = ada.conversations.first()

    page = select(boss, CHATS, [row], select_across="1")
    assert "Only the first 3 will be deleted." in page.text
    asked = ada.conversations.filter(pk__in=selected_on(page))
    assert len(asked) == 3
    select(boss, CHATS, list(asked), post="yes")
    assert ada.conversations.count() == 2
    page = select(boss, CHATS, [ada.conversations.first()], select_across="1")

    assert "Only the first" not in page.text
    assert len(selected_on(page)) == 2


def test_a_transaction_deletes_no_more_messages_than_go_at_once(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each conversation has two messages.
    monkeypatch.setattr(stopping, "MOST_MESSAGES", 3)
    batches: list[int] = []
    deleted = stopping.delete(
        Conversation.objects.all(), note=lambda idents: batches.append(len(idents))
    )
    assert batches == [2, 2, 1]
    assert deleted == (5, 0)


def test_what_cannot_be_noted_is_not_deleted(
    boss: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OperationalError("the server is gone")

    monkeypatch.setattr(ModelAdmin, "log_deletions", fail)
    answer = select(boss, CHATS, list(ada.conversations.all()), post="yes")
    assert answer.status_code == 503
    assert ada.conversations.count() == 5
