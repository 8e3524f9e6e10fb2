"""Search in messages.

PostgreSQL has a full-text index (migration 0011), whose expressions must match those
here exactly; other databases scan. Only the latest matches count. The index has to
return all matches before they can be sorted, which is slow for a common word. So if the
planner expects many matches, the latest messages are scanned first, and the index is
used only if they contain too few.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import (
    BooleanField,
    ExpressionWrapper,
    F,
    Func,
    IntegerField,
    Q,
    QuerySet,
)

from llmchat.models import Conversation, Message

# The most messages, or titles, that count as matches: the latest ones.
MATCHES = 1000
# The most characters of a search text; SQLite rejects patterns of 50,000 bytes.
_TEXT = 1000
# The index is used directly if fewer messages than this are expected to match.
_MANY = 25_000
# Otherwise up to `_LATEST` messages are scanned first, with no more than `_LONG` bytes
# of text together. `_ENOUGH` matches are enough; with fewer, the index does not take
# long.
_LATEST, _LONG = 2000, 200_000
_ENOUGH = 20
# The index knows words, but not which are next to each other. For a phrase (such as
# "don't"), the texts of the latest messages with its words are read, up to this many.
_PHRASED = 3000
# In a query as PostgreSQL writes it: a word, or the operator for two adjacent words.
_WORD_OR_BESIDE = re.compile(r"('(?:[^']|'')*')|<(?:-|\d+)>")
# PostgreSQL parses a quoted text in the same way as messages. It splits an address
# without quotes at these characters, into words that no message has. So addresses are
# put in quotes; text that is in quotes already stays as it is.
_APART = re.compile(r'"[^"]*"?|(?<!\S)(-?)([^\s"]*[:&/][^\s"]*)(?!\S)')
# How much of a text is indexed.
_INDEXED = 100_000
_UNINDEXED_CREATED_AT = (F("created_at") + timedelta(0)).desc()


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found, and how far it has looked.

    `hits` are the conversations that contain the text, each with the latest message
    that does. `limit` says in a sentence what was left out, "" if nothing was.
    """

    text: str
    hits: dict[UUID, UUID]
    limit: str = ""


def find(text: str, *, user_id: int | None = None) -> Found:
    """Search the messages that have not been replaced, as far as the limits allow.

    `user_id` limits the search to the messages of one user.
    """
    limits = []
    if len(text) > _TEXT:
        limits.append(
            f"Only the first {_TEXT:,} characters of the text were searched for."
        )
    text = " ".join(text[:_TEXT].replace("\0", " ").split())
    messages = Message.objects.filter(replaced_by__isnull=True).order_by("-created_at")
    if user_id is not None:
        messages = messages.filter(user_id=user_id)
    if connection.vendor != "postgresql":
        hits, limit = _said(messages, text)
    else:
        hits, limit = _said_in_postgresql(messages, text)
    # The latest message of each conversation comes first.
    latest = dict(reversed(hits))
    return Found(text, latest, " ".join([*limits, *([limit] if limit else [])]))


def matching(
    conversations: QuerySet[Conversation],
    text: str,
    *,
    user_id: int | None = None,
    found: Found | None = None,
) -> QuerySet[Conversation]:
    """Return those of `conversations` that match `text`.

    The text is searched for in messages and in titles, and compared with the ids of
    conversations and messages, and with usernames unless `user_id` is given. `found` is
    the result of `find` for the text, if it was called before.
    """
    found = found or find(text, user_id=user_id)
    text = found.text
    # The ids are read here, once, because the result is both counted and read.
    titled = conversations.filter(title__icontains=text).order_by("-updated_at")
    wanted = Q(pk__in=[*found.hits, *titled.values_list("pk", flat=True)[:MATCHES]])
    if user_id is None:
        named = get_user_model().objects.filter(username__iexact=text)
        if users := list(named.values_list("pk", flat=True)):
            wanted |= Q(user__in=users)
    if ident := as_id(text):
        wanted |= Q(pk=ident) | Q(pk__in=_conversations_of(ident))
    return conversations.filter(wanted)


_Hits = list[tuple[UUID, UUID]]


def _said(messages: QuerySet[Message], text: str) -> tuple[_Hits, str]:
    found = messages.filter(content__icontains=text)
    hits = list(found.values_list("conversation_id", "pk")[: MATCHES + 1])
    return hits[:MATCHES], _matches(len(hits))


def _said_in_postgresql(messages: QuerySet[Message], text: str) -> tuple[_Hits, str]:
    from django.contrib.postgres.search import SearchQuery, SearchVectorField

    text = _APART.sub(lambda it: f'{it[1]}"{it[2]}"' if it[2] else it[0], text)
    document = Func(
        F("content"),
        template="to_tsvector('simple', left(%(expressions)s, 100000))",
        output_field=SearchVectorField(),
    )
    query = SearchQuery(text, config="simple", search_type="websearch")
    is_hit = ExpressionWrapper(Q(document=query), output_field=BooleanField())
    ended = messages.exclude(state=Message.State.STREAMING).annotate(document=document)
    words = _words_of_phrases(text)
    indexed = SearchQuery(words, search_type="raw") if words else query
    if words:  # they are a parsed query already
        indexed.template = "(%(expressions)s)::tsquery"
    found = ended.filter(document=indexed)
    if _expected(found) >= _MANY:
        looked = _readable(messages, _LATEST)
        judged = list(ended.values_list("conversation_id", "pk", is_hit)[:looked])
        latest = [(conversation, pk) for conversation, pk, hit in judged if hit]
        if len(judged) < looked:
            return latest[:MATCHES], _matches(len(latest))
        if len(latest) >= _ENOUGH:
            return latest[:MATCHES], (
                f"Many messages match: only the latest {len(judged):,} messages were"
                " searched."
            )
    # With a plain order, the planner would scan all messages from the latest on.
    rows = found.order_by(_UNINDEXED_CREATED_AT)
    if words:
        return _phrased(rows, rows.values_list("conversation_id", "pk", is_hit))
    hits = list(rows.values_list("conversation_id", "pk")[: MATCHES + 1])
    return hits[:MATCHES], _matches(len(hits))


def _phrased(
    rows: QuerySet[Message], judging: QuerySet[Message, tuple[UUID, UUID, bool]]
) -> tuple[_Hits, str]:
    """Find a phrase in the latest messages that contain its words."""
    count = _readable(rows, _PHRASED)
    judged = list(judging[:count])
    latest = [(conversation, pk) for conversation, pk, hit in judged if hit]
    if len(judged) < count or len(latest) > MATCHES:
        return latest[:MATCHES], _matches(len(latest))
    return latest, (
        f"Many messages contain these words: only the latest {count:,} of them were"
        " searched for the phrase."
    )


def _words_of_phrases(text: str) -> str:
    """Return a query for the words of a text with phrases, "" for any other text.

    It finds at least the same messages, and the index alone can answer it. A text that
    excludes anything has no such query, so the result is "" for it, too.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT websearch_to_tsquery('simple', %s)::text", [text])
        (parsed,) = cursor.fetchone()
    words = _WORD_OR_BESIDE.sub(lambda found: found[1] or "&", parsed)
    return "" if words == parsed or "!" in parsed else words


def _expected(found: QuerySet[Message]) -> int:
    """Return how many rows the planner expects; it knows the common words."""
    (plan,) = json.loads(found.order_by().explain(format="json"))
    return int(plan["Plan"]["Plan Rows"])


def _readable(messages: QuerySet[Message], most: int) -> int:
    """Return how many of the first messages to read: the longer they are, the fewer.

    The database knows the length of a text without reading it.
    """
    size = Func(F("content"), function="octet_length", output_field=IntegerField())
    sizes = list(messages.values_list(size, flat=True)[:most])
    total = accumulate(min(size, _INDEXED) for size in sizes)
    count = sum(1 for so_far in total if so_far <= _LONG)
    return most if count == len(sizes) else max(1, count)


def _matches(count: int) -> str:
    if count <= MATCHES:
        return ""
    return f"Many messages match: only the latest {MATCHES:,} of them were considered."


def _conversations_of(message_id: UUID) -> list[UUID]:
    messages = Message.objects.filter(pk=message_id)
    return list(messages.values_list("conversation_id", flat=True))


def as_id(text: str) -> UUID | None:
    """Return `text` as the id of a row, None if it is not one."""
    try:
        return UUID(text)
    except ValueError:
        return None
