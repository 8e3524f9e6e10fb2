"""`manage.py prune --older-than 90d`: delete old conversations."""

from __future__ import annotations

import argparse
import re
from datetime import timedelta
from typing import Any

from django.contrib.admin.models import DELETION
from django.core.management.base import BaseCommand, CommandParser
from django.template.defaultfilters import pluralize
from django.utils import timezone

from accounts import audit
from llmchat.books.retention import BATCH, old_conversations, prune
from llmchat.models import Conversation, Message

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


class Command(BaseCommand):
    """Delete conversations whose last turn is older than a given time."""

    help = (
        "Delete conversations whose last turn is older than a given time, with all "
        "their messages."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--older-than",
            type=_age,
            required=True,
            metavar="AGE",
            help="an age in hours, days or weeks, such as 36h, 90d or 12w",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="only count what would be deleted",
        )
        parser.add_argument(
            "--batch",
            type=_batch,
            default=BATCH,
            metavar="N",
            help=f"conversations to delete per transaction ({BATCH} by default)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Delete batch by batch, or only count."""
        before = timezone.now() - options["older_than"]
        if options["dry_run"]:
            old = old_conversations(before)
            theirs = Message.objects.filter(conversation__in=old.values("pk"))
            self._say("Would delete", old.count(), theirs.count())
            return
        conversations = messages = 0
        for batch in prune(before, batch=options["batch"], note=_note):
            conversations += batch[0]
            messages += batch[1]
            if options["verbosity"] > 1:
                self._say("Deleted so far", conversations, messages)
        self._say("Deleted", conversations, messages)

    def _say(self, verb: str, conversations: int, messages: int) -> None:
        self.stdout.write(
            f"{verb} {_counted(conversations, 'conversation')}"
            f" with {_counted(messages, 'message')}"
        )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{pluralize(count)}"


def _note(conversations: int) -> None:
    said = f"prune: deleted {_counted(conversations, 'conversation')}"
    audit.note_command(Conversation, said, flag=DELETION)


def _age(text: str) -> timedelta:
    match = re.fullmatch(r"([1-9]\d{0,5})([hdw])", text)
    if match is None:
        raise argparse.ArgumentTypeError("must be an age such as 36h, 90d or 12w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _batch(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError("must be a number from 1 to 10000")
    return int(text)
