"""The suite's own flush leaves the same rows as Django's."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.core.management.color import no_style
from django.core.management.sql import emit_post_migrate_signal, sql_flush
from django.db import OperationalError, connection
from django.utils import timezone

from llmchat.models import Conversation, ShippedRole
from tests.support import flushing
from tests.support.databases import is_waited_for


def flush(*, inhibit_post_migrate: bool = False) -> None:
    call_command(
        "flush",
        verbosity=0,
        interactive=False,
        reset_sequences=False,
        inhibit_post_migrate=inhibit_post_migrate,
    )


def left() -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows that a flush leaves, without their numbers."""
    permission = ("content_type__app_label", "content_type__model", "codename", "name")
    given = ("name", "permissions__content_type__app_label", "permissions__codename")
    rows = {
        "types": ContentType.objects.values_list("app_label", "model"),
        "permissions": Permission.objects.values_list(*permission),
        "groups": Group.objects.values_list(*given),
        "roles": ShippedRole.objects.values_list("name", "group__name", "given"),
    }
    return {name: sorted(found) for name, found in rows.items()}


@pytest.mark.parametrize("largest", [0, flushing.MAX_BYTES])
@pytest.mark.django_db(transaction=True)
def test_a_flush_leaves_what_django_would_make(
    largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With tables so large that Django's own flush is faster, and with small ones."""
    monkeypatch.setattr(flushing, "MAX_BYTES", largest)
    flush()  # the first flush of a process remembers these rows
    Group.objects.all().delete()
    ann = get_user_model().objects.create_user("ann")
    Conversation.objects.create(user=ann, updated_at=timezone.now())
    flush()
    kept = left()
    assert not Conversation.objects.exists()
    assert not get_user_model().objects.exists()

    flush(inhibit_post_migrate=True)
    assert not any(left().values())
    emit_post_migrate_signal(0, False, "default")

    assert all(kept.values())
    assert kept == left()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="it locks the whole file")
def test_a_flush_gets_its_turn_behind_what_a_test_has_left_running(
    other_connection: Any,
) -> None:
    """The flush locks the tables in order; the other one the last before the first."""
    statement = sql_flush(no_style(), connection)[0].rstrip(";")
    first, *_, last = re.findall(r'"(\w+)"', statement)
    Group.objects.create(name="of a test")
    with other_connection.cursor() as cursor, ThreadPoolExecutor(1) as threads:
        cursor.execute(f"LOCK TABLE {last} IN ROW EXCLUSIVE MODE")
        flushed = threads.submit(flush_in_thread)
        while not is_waited_for(cursor, last):
            assert not flushed.done()
        # On a slow machine PostgreSQL might abort this one for the deadlock.
        with suppress(OperationalError):
            cursor.execute(f"LOCK TABLE {first} IN ROW EXCLUSIVE MODE")
        other_connection.rollback()
        flushed.result()
    assert not Group.objects.filter(name="of a test").exists()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="it locks the whole file")
def test_a_flush_deletes_what_is_committed_while_it_waits(
    other_connection: Any,
) -> None:
    flush()
    with other_connection.cursor() as cursor, ThreadPoolExecutor(1) as threads:
        cursor.execute("INSERT INTO auth_group (name) VALUES ('of a test')")
        flushed = threads.submit(flush_in_thread)
        while not is_waited_for(cursor, "auth_group"):
            assert not flushed.done()
        other_connection.commit()
        flushed.result()
    assert not Group.objects.filter(name="of a test").exists()


def flush_in_thread() -> None:
    try:
        flush()
    finally:
        connection.close()


@pytest.mark.django_db(transaction=True)
def test_rows_that_are_made_behind_a_flush_have_numbers_of_their_own() -> None:
    flush()
    flush()

    group = Group.objects.create(name="of a test")

    assert Group.objects.filter(pk=group.pk).count() == 1
    assert Group.objects.count() == ShippedRole.objects.count() + 1


@pytest.mark.django_db(transaction=True)
def test_a_flush_that_has_lost_its_connection_empties_the_tables_all_the_same() -> None:
    """A test of outages would otherwise take all later ones of the process with it."""
    flush()
    kept = left()
    flushing.Flush.kept["default"].close()
    for _ in range(2):
        Group.objects.create(name="left behind")
        flush()
        assert left() == kept
