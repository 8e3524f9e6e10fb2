"""Search in messages.

PostgreSQL has a full-text index (migration 0011), whose expressions must match those
here exactly; other databases scan. Only the latest matches count. The index returns
all matches before they can be sorted, which is slow for a common word, so the latest
messages are scanned first and the index is used only if they hold too few matches.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import BooleanField, ExpressionWrapper, F, Func, Q, QuerySet

from llmchat.models import Conversation, Message

# Of messages, the latest first.
MATCHES = 1000
# Characters of a search text; SQLite rejects patterns of 50,000 bytes.
_TEXT = 1000
# How many messages are scanned first, and how many matches there are enough: a word
# in more than one of forty messages does not use the index.
_LATEST = 2000
_ENOUGH = 50
_UNINDEXED_CREATED_AT = (F("created_at") + timedelta(0)).desc()


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found, and how far it has looked.

    `hits` are the conversations in which the text was said, each with the latest
    message that says it. `limit` says in a sentence what was left out, "" for nothing.
    """

    text: str
    hits: dict[UUID, UUID]
    limit: str = ""


def find(text: str, *, user_id: int | None = None) -> Found:
    """Search the messages that are not replaced, as far as the limits allow.

    `user_id` limits the messages to those of one user.
    """
    limits = []
    if len(text) > _TEXT:
        limits.append(f"Only the first {_TEXT:,} characters were searched for.")
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

    The text is searched in messages and in titles, and compared with usernames and
    with ids of conversations and messages. `found` is what `find` has returned for it.
    """
    found = found or find(text, user_id=user_id)
    text = found.text
    # Each is looked up once: a list is both counted and read.
    titled = conversations.filter(title__icontains=text).order_by("-updated_at")
    named = get_user_model().objects.filter(username__iexact=text)
    wanted = Q(pk__in=[*found.hits, *titled.values_list("pk", flat=True)[:MATCHES]])
    if user_id is not None:
        wanted |= Q(user__username__iexact=text)
    elif users := list(named.values_list("pk", flat=True)):
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

    document = Func(
        F("content"),
        template="to_tsvector('simple', left(%(expressions)s, 100000))",
        output_field=SearchVectorField(),
    )
    query = SearchQuery(text, config="simple", search_type="websearch")
    ended = messages.exclude(state=Message.State.STREAMING).annotate(document=document)
    is_hit = ExpressionWrapper(Q(document=query), output_field=BooleanField())
    judged = list(ended.values_list("conversation_id", "pk", is_hit)[:_LATEST])
    latest = [(conversation, pk) for conversation, pk, hit in judged if hit]
    if len(latest) >= min(MATCHES, _ENOUGH):
        if len(judged) < _LATEST:
            return latest[:MATCHES], _matches(len(latest))
        return latest[:MATCHES], (
            f"Many messages match: only the latest {_LATEST:,} messages were searched."
        )
    # With a plain order the planner, which knows nothing of words, would scan all
    # messages from the latest on.
    found = ended.filter(document=query).order_by(_UNINDEXED_CREATED_AT)
    hits = list(found.values_list("conversation_id", "pk")[: MATCHES + 1])
    return hits[:MATCHES], _matches(len(hits))


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
