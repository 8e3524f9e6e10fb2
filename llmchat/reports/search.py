"""Search in what was said.

PostgreSQL has a full-text index (migration 0011), whose expressions are repeated
here to the letter; other databases are read through. Either way only the latest
matches count. The index gives all of them before the latest can be told, which takes
long for a common word. So the latest messages are read first: whoever finds enough
there does not ask the index.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db import connection
from django.db.models import BooleanField, ExpressionWrapper, F, Func, Q, QuerySet

from llmchat.models import Conversation, Message

# Of messages, the latest first.
MATCHES = 1000
# Of a text to look for, in characters; SQLite refuses patterns of 50,000 bytes.
_TEXT = 1000
# What is read first, and how many matches there will do: a word that is in more than
# one of forty messages is not asked the index for.
_LATEST = 4000
_ENOUGH = 100
_UNINDEXED_CREATED_AT = (F("created_at") + timedelta(0)).desc()


def matching(
    conversations: QuerySet[Conversation], text: str, *, user_id: int | None = None
) -> QuerySet[Conversation]:
    """Return those of `conversations` that `text` leads to.

    It is looked for in what was said and in titles, and compared with names of users
    and ids of conversations and messages. `user_id` tells whose messages will do.
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
    messages = Message.objects.order_by("-created_at")
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
        # A plain order would tempt the planner, who knows nothing of words, to read
        # all messages from the latest on.
        found = ended.filter(document=query).order_by(_UNINDEXED_CREATED_AT)
        latest = list(found.values_list("conversation_id", flat=True)[:MATCHES])
    return latest[:MATCHES]


def _conversations_of(message_id: UUID) -> list[UUID]:
    messages = Message.objects.filter(pk=message_id)
    return list(messages.values_list("conversation_id", flat=True))


def as_id(text: str) -> UUID | None:
    """Return the id of a row that somebody has entered, None where it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None
