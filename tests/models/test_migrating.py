"""Migrations beside a running server and other readers, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection

from llmchat.books import day_totals
from llmchat.models import DayTotal

pytestmark = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="SQLite has no triggers to change"
)
locks: Any = import_module("llmchat.migrations._locks")
TRIGGERS = """
    SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger
    WHERE NOT tgisinternal AND tgname LIKE 'llmchat%' ORDER BY tgname"""
FUNCTIONS = "SELECT proname FROM pg_proc WHERE proname LIKE 'llmchat%' ORDER BY 1"


@pytest.fixture
def reader(other_connection: Any) -> Iterator[Any]:
    """Another reader's connection; after the test, all migrations are applied again."""
    yield other_connection
    other_connection.close()
    migrate("llmchat")


def migrate(*where: str) -> None:
    call_command("migrate", *where, verbosity=0)


def read(statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def test_triggers_are_changed_while_a_backup_reads_messages(reader: Any) -> None:
    before = read(TRIGGERS), read(FUNCTIONS)
    migrate("llmchat", "0037")
    with reader.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM llmchat_message")
        migrate("llmchat")
    assert (read(TRIGGERS), read(FUNCTIONS)) == before


def test_the_triggers_of_before_come_back(reader: Any) -> None:
    before = read(TRIGGERS), read(FUNCTIONS)
    migrate("llmchat", "0037")
    old = read(FUNCTIONS)
    migrate("llmchat")
    assert old == [("llmchat_note_changed_day",), ("llmchat_note_deleted_days",)]
    assert (read(TRIGGERS), read(FUNCTIONS)) == before
    assert DayTotal.objects.filter(kind="day").count() == day_totals.DAYS


def test_who_waits_for_a_long_reader_lets_others_by(
    reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[float] = []

    def pause(seconds: float) -> None:
        """Write to what a migration that holds its locks would block for everyone."""
        with reader.cursor() as cursor:
            cursor.execute("SET lock_timeout = '1s'")
            cursor.execute("UPDATE llmchat_message SET content = ''")
            cursor.execute("DELETE FROM llmchat_daychange")
        done.append(seconds)
        if len(done) == 2:
            reader.rollback()

    # Only in this module, because other threads sleep, too.
    monkeypatch.setattr(locks, "time", SimpleNamespace(sleep=pause))
    migrate("llmchat", "0037")
    with reader.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM llmchat_daytotal")
        migrate("llmchat")
    assert done == [locks.PAUSE_S] * 2

    with reader.cursor() as cursor:
        cursor.execute("UPDATE llmchat_message SET content = ''")
        monkeypatch.setattr(locks, "TRIES", 1)
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate("llmchat", "0038")
    assert len(done) == 2


@pytest.mark.django_db
def test_old_code_takes_the_totals_for_locked() -> None:
    with pytest.raises(OperationalError) as refused, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO llmchat_daytotal (kind, day, provider, model, state,"
            " finish_reason, answers, unpriced, input_tokens, output_tokens, cost)"
            " VALUES ('model', now(), '', '', '', '', 1, 0, 1, 1, NULL)"
        )
    assert getattr(refused.value.__cause__, "sqlstate", "") == "55P03"
