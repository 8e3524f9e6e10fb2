"""The text of a message around the words that were searched for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db import connection
from django.db.models.functions import Substr
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from llmchat.models import Message

# How much of a message is read: as much as PostgreSQL's index covers.
_READ = 100_000
_BEFORE, _LENGTH = 50, 160
_MOST_WORDS = 20


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of a message with the words marked, and the position of the message."""

    message_id: UUID
    position: int
    html: SafeString


def excerpts(ids: Iterable[UUID], text: str) -> dict[UUID, Excerpt]:
    """Return an excerpt of each message."""
    rows = Message.objects.filter(pk__in=list(ids)).order_by()
    words = _words(text)
    read = rows.values_list("pk", "position", Substr("content", 1, _READ))
    return {
        pk: Excerpt(pk, position, excerpt(content, words))
        for pk, position, content in read
    }


def _words(text: str) -> re.Pattern[str] | None:
    """Return a pattern for the words of a search, without its operators."""
    phrases = [text, *re.findall(r'"([^"]+)"', text)]
    plain = re.sub(r'"[^"]*"', " ", text).split()
    singles = [
        word.strip('",.;:!?()')
        for word in plain
        if not word.startswith("-") and word.lower() != "or"
    ]
    wanted = [word for word in (*phrases, *singles) if word][:_MOST_WORDS]
    if not wanted:
        return None
    # The longest first, so that a phrase is marked as one.
    longest = sorted(set(wanted), key=len, reverse=True)
    pattern = "|".join(map(re.escape, longest))
    if connection.vendor == "postgresql":  # whole words; elsewhere parts of them, too
        pattern = rf"(?<!\w)(?:{pattern})(?!\w)"
    return re.compile(pattern, re.IGNORECASE)


def excerpt(content: str, words: re.Pattern[str] | None) -> SafeString:
    """Return the part around the first match, with all matches in it marked."""
    line = " ".join(content.split())
    first = words.search(line) if words else None
    start = max(0, first.start() - _BEFORE) if first else 0
    if start:
        # Not in the middle of a word.
        start = line.find(" ", start, first.start() if first else start) + 1 or start
    part = line[start : start + _LENGTH]
    html, done = "", 0
    for found in words.finditer(part) if words else ():
        html += escape(part[done : found.start()]) + f"<mark>{escape(found[0])}</mark>"
        done = found.end()
    html += escape(part[done:])
    before = "… " if start else ""
    after = " …" if start + _LENGTH < len(line) else ""
    return mark_safe(f"{before}{html}{after}")
