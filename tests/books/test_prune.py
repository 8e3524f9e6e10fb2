"""`manage.py prune`: old conversations are deleted in batches, and nothing else is."""

from __future__ import annotations

import asyncio
import io
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from llmchat.database import in_database
from llmchat.models import Conversation, Message
from tests.support.streaming import streaming


def make(title: str, *, days_ago: float, user: User | None = None) -> Conversation:
    """Make a conversation of two messages whose last turn was `days_ago`."""
    moment = timezone.now() - timedelta(days=days_ago)
    user = user or User.objects.get_or_create(username="bob")[0]
    row = Conversation.objects.create(user=user, title=title, updated_at=moment)
    Message.objects.bulk_create(
        Message(
            conversation=row,
            user=user,
            position=position,
            role=role,
            content="x",
            created_at=moment,
        )
        for position, role in enumerate(("user", "assistant"))
    )
    return row


def run(*arguments: str, **options: object) -> str:
    output = io.StringIO()
    call_command("prune", *arguments, stdout=output, **options)
    return output.getvalue()


def titles() -> list[str]:
    return sorted(Conversation.objects.values_list("title", flat=True))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("age", "kept"),
    [
        ("90d", ["new", "old"]),
        ("2d", ["new"]),
        ("47h", ["new"]),
        ("49h", ["new", "old"]),
        ("1w", ["new", "old"]),
    ],
)
def test_what_is_older_is_deleted_with_its_messages(age, kept):
    make("new", days_ago=0)
    make("old", days_ago=2.02)
    make("oldest", days_ago=91)

    run("--older-than", age)
    assert titles() == kept
    assert Message.objects.count() == 2 * len(kept)


@pytest.mark.django_db
def test_a_dry_run_deletes_nothing_and_says_what_it_would():
    make("old", days_ago=91)
    output = run("--older-than", "90d", "--dry-run")
    assert output == "Would delete 1 conversation with 2 messages\n"
    assert titles() == ["old"]
    assert run("--older-than", "90d") == "Deleted 1 conversation with 2 messages\n"
    assert run("--older-than", "90d") == "Deleted 0 conversations with 0 messages\n"


@pytest.mark.django_db
def test_it_works_in_batches():
    for number in range(5):
        make(str(number), days_ago=91)
    output = run("--older-than", "90d", "--batch", "2", verbosity=2)
    assert output.splitlines() == [
        "Deleted so far 2 conversations with 4 messages",
        "Deleted so far 4 conversations with 8 messages",
        "Deleted so far 5 conversations with 10 messages",
        "Deleted 5 conversations with 10 messages",
    ]
    assert titles() == []


@pytest.mark.django_db
def test_what_it_has_deleted_is_noted_though_it_is_killed(monkeypatch):
    for number in range(5):
        make(str(number), days_ago=91)

    class Killed(BaseException):
        pass

    def end(*_: object) -> None:
        raise Killed

    # After the first batch.
    monkeypatch.setattr("llmchat.management.commands.prune.Command._say", end)
    with pytest.raises(Killed):
        run("--older-than", "90d", "--batch", "2", verbosity=2)
    assert len(titles()) == 3
    assert notes() == ["prune: deleted 2 conversations"]


@pytest.mark.django_db
def test_what_cannot_be_noted_is_not_deleted(monkeypatch):
    make("old", days_ago=91)

    def fail(*_: object, **__: object) -> None:
        raise DatabaseError

    monkeypatch.setattr("accounts.audit.note_command", fail)
    with pytest.raises(DatabaseError):
        run("--older-than", "90d")
    assert titles() == ["old"]


def notes() -> list[str]:
    entries = LogEntry.objects.order_by("pk")
    return list(entries.values_list("change_message", flat=True))


@pytest.mark.django_db
def test_a_batch_takes_the_same_few_statements_whatever_its_size():
    def statements(count: int) -> int:
        for number in range(count):
            make(str(number), days_ago=91)
        with CaptureQueriesContext(connection) as queries:
            run("--older-than", "90d")
        return len(queries)

    assert statements(2) == statements(20)


async def test_a_conversation_whose_answer_is_being_written_stays(
    user, provider, upstream, turn
):
    def age() -> None:
        long_ago = timezone.now() - timedelta(days=91)
        Conversation.objects.update(updated_at=long_ago)

    upstream.steps = ("Hel", go := asyncio.Event())
    async with streaming(user, turn("Hi")):
        await in_database(age)
        await in_database(run, "--older-than", "90d")
        assert await in_database(titles) == ["Hi"]
        go.set()


@pytest.mark.parametrize("age", ["90", "d", "-1d", "0d", "1.5d", "90 days", ""])
def test_an_age_that_is_none_is_refused(age):
    with pytest.raises(CommandError, match="must be an age such as 36h, 90d or 12w"):
        run(f"--older-than={age}")


def test_the_age_must_be_given():
    with pytest.raises(CommandError, match="--older-than"):
        run()
