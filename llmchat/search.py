"""Search in what was said.

PostgreSQL has a full-text index (migration 0011), whose expressions are repeated
here to the letter; other databases are read through. Either way only the latest
matches count, so that a common word costs no more than a rare one.
"""

from __future__ import annotations

from uuid import UUID

from django.db import connection
from django.db.models import F, Func, Q, QuerySet

from llmchat.models import Conversation, Message

# Of messages, the latest first.
MATCHES = 1000


def matching(
    conversations: QuerySet[Conversation], text: str, *, user_id: int | None = None
) -> QuerySet[Conversation]:
    """Return those of `conversations` that `text` leads to.

    It is looked for in what was said and in titles, and compared with names of users
    and ids of conversations and messages. `user_id` tells whose messages will do.
    """
    text = " ".join(text.replace("\0", " ").split())
    wanted = (
        Q(pk__in=_said(text, user_id))
        | Q(title__icontains=text)
        | Q(user__username__iexact=text)
    )
    if ident := _as_id(text):
        wanted |= Q(pk=ident) | Q(pk__in=_conversations_of(ident))
    return conversations.filter(wanted)


def _said(text: str, user_id: int | None) -> list[UUID]:
    messages = _containing(text)
    if user_id is not None:
        messages = messages.filter(user_id=user_id)
    latest = messages.order_by("-created_at").values_list("conversation_id", flat=True)
    return list(dict.fromkeys(latest[:MATCHES]))


def _containing(text: str) -> QuerySet[Message]:
    if connection.vendor != "postgresql":
        return Message.objects.filter(content__icontains=text)
    from django.contrib.postgres.search import SearchQuery, SearchVectorField

    document = Func(
        F("content"),
        template="to_tsvector('simple', left(%(expressions)s, 100000))",
        output_field=SearchVectorField(),
    )
    query = SearchQuery(text, config="simple", search_type="websearch")
    return (
        Message.objects.exclude(state=Message.State.STREAMING)
        .annotate(document=document)
        .filter(document=query)
    )


def _conversations_of(message_id: UUID) -> list[UUID]:
    messages = Message.objects.filter(pk=message_id)
    return list(messages.values_list("conversation_id", flat=True))


def _as_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
