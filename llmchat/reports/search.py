"""Search in messages.

PostgreSQL has a full-text index (migration 0011), whose expressions must match those
here exactly; other databases scan. Only the latest matches count. The index returns
all matches before they can be sorted, which is slow for a common word, so the latest
messages are scanned first and the index is used only if they hold too few matches.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db import connection
from django.db.models import BooleanField, ExpressionWrapper, F, Func, Q, QuerySet

from llmchat.models import Conversation, Message

# Of messages, the latest first.
MATCHES = 1000
# Characters of a search text; SQLite rejects patterns of 50,000 bytes.
_TEXT = 1000
# How many messages are scanned first, and how many matches there are enough: a word
# in more than one of forty messages does not use the index.
_LATEST = 4000
_ENOUGH = 100
_UNINDEXED_CREATED_AT = (F("created_at") + timedelta(0)).desc()


def matching(
    conversations: QuerySet[Conversation], text: str, *, user_id: int | None = None
) -> QuerySet[Conversation]:
    """Return those of `conversations` that match `text`.

    The text is searched in messages that are not replaced and in titles, and compared
    with usernames and with ids of conversations and messages. `user_id` limits the
    messages to those of one user.
    """
    text = " ".join(text[:_TEXT].replace("\0", " ").split())
    wanted = (
        Q(pk__in=_said(text, user_id))
        | Q(title__icontains=text)
        | Q(user__username__iexact=text)
    )
    if ident := as_id(text):
        wanted |= Q(pk=ident) | Q(pk__in=_conversations_of(ident))
    return conversations.filter(wanted)


def _said(text: str, user_id: int | None) -> list[UUID]:
    messages = Message.objects.filter(replaced_by__isnull=True).order_by("-created_at")
    if user_id is not None:
        messages = messages.filter(user_id=user_id)
    if connection.vendor != "postgresql":
        found = messages.filter(content__icontains=text)
        latest = list(found.values_list("conversation_id", flat=True)[:MATCHES])
    else:
        latest = _said_in_postgresql(messages, text)
    return list(dict.fromkeys(latest))


def _said_in_postgresql(messages: QuerySet[Message], text: str) -> list[UUID]:
    from django.contrib.postgres.search import SearchQuery, SearchVectorField

    document = Func(
        F("content"),
        template="to_tsvector('simple', left(%(expressions)s, 100000))",
        output_field=SearchVectorField(),
    )
    query = SearchQuery(text, config="simple", search_type="websearch")
    ended = messages.exclude(state=Message.State.STREAMING).annotate(document=document)
    is_hit = ExpressionWrapper(Q(document=query), output_field=BooleanField())
    judged = ended.values_list("conversation_id", is_hit)[:_LATEST]
    latest = [conversation_id for conversation_id, hit in judged if hit]
    if len(latest) < min(MATCHES, _ENOUGH):
        # With a plain order the planner, which knows nothing of words, would scan all
        # messages from the latest on.
        found = ended.filter(document=query).order_by(_UNINDEXED_CREATED_AT)
        latest = list(found.values_list("conversation_id", flat=True)[:MATCHES])
    return latest[:MATCHES]


def _conversations_of(message_id: UUID) -> list[UUID]:
    messages = Message.objects.filter(pk=message_id)
    return list(messages.values_list("conversation_id", flat=True))


def as_id(text: str) -> UUID | None:
    """Return `text` as the id of a row, None if it is not one."""
    try:
        return UUID(text)
    except ValueError:
        return None
