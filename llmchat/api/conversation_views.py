"""The REST API of a user's own conversations."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import TokenError
from accounts.verified import Scope
from llmchat.access.ratelimit import count_message
from llmchat.answers.stopping import delete
from llmchat.api.async_view import AsyncAPIView, user_id_of, verified_of
from llmchat.api.conversation_fields import in_full, in_list
from llmchat.api.etags import json_with_etag
from llmchat.api.validation import UNSTORABLE
from llmchat.books.conversations import TITLE_LENGTH, empty_conversation
from llmchat.database import in_database, read_database
from llmchat.errors import refusal
from llmchat.models import Conversation
from llmchat.reports import own
from llmchat.reports.known_costs import known_cost, known_costs


class ConversationsView(AsyncAPIView):
    """`/llm/conversations`: the user's conversations, the latest first."""

    scopes = {"GET": Scope.READ, "POST": Scope.CHAT}

    async def get(self, request: Request) -> HttpResponseBase:
        """List a page of them, or of those that `search` finds."""
        return json_with_etag(request, await read_database(_listed, request))

    async def post(self, request: Request) -> Response:
        """Create one without messages, to be named as `conversationId` in a turn."""
        sender = verified_of(request)
        await count_message(sender)
        title = _title(request, default="")
        created = await in_database(_created, sender.user_id, title)
        return Response(in_list(created, created.cost), status=201)


class ConversationView(AsyncAPIView):
    """`/llm/conversations/{id}`: one of the user's conversations."""

    scopes = {"GET": Scope.READ, "PATCH": Scope.CHAT, "DELETE": Scope.CHAT}

    async def get(self, request: Request, conversation_id: str) -> HttpResponseBase:
        """Return it with its messages, the first one first."""
        data = await read_database(_read, request, conversation_id)
        return json_with_etag(request, data)

    async def patch(self, request: Request, conversation_id: str) -> Response:
        """Rename it."""
        title = _title(request)
        return Response(
            await in_database(_renamed, user_id_of(request), conversation_id, title)
        )

    async def delete(self, request: Request, conversation_id: str) -> HttpResponse:
        """Delete it with its messages; an answer that is being written is stopped."""
        await in_database(_deleted, user_id_of(request), conversation_id)
        return HttpResponse(status=204)


def _listed(request: Request) -> dict[str, Any]:
    query = request.query_params
    page = own.conversations_of(
        user_id_of(request),
        search=query.get("search", ""),
        cursor=query.get("cursor", ""),
        limit=_limit(request, own.PAGE, own.MOST_CONVERSATIONS),
    )
    costs = known_costs(page.rows)
    listed = [in_list(row, costs[row.pk]) for row in page.rows]
    return {"results": listed, "cursor": page.cursor}


def _created(user_id: int, title: str) -> Conversation:
    """Store a conversation. Raises: TokenError, if the user has just been deleted."""
    row = empty_conversation(user_id, title)
    try:
        row.save(force_insert=True)
    except IntegrityError as exc:
        raise TokenError("token_invalid") from exc
    return row


def _read(request: Request, ident: str) -> dict[str, Any]:
    row = own.conversation_of(user_id_of(request), ident)
    page = own.messages_of(
        row,
        cursor=request.query_params.get("cursor", ""),
        limit=_limit(request, own.MOST_MESSAGES, own.MOST_MESSAGES),
    )
    messages = [in_full(message) for message in page.rows]
    found = in_list(row, known_cost(row))
    return found | {"messages": messages, "cursor": page.cursor}


def _renamed(user_id: int, ident: str, title: str) -> dict[str, Any]:
    # Only this column: a turn may be changing the others.
    own.owned(user_id, ident).update(title=title)
    row = own.conversation_of(user_id, ident)
    return in_list(row, known_cost(row))


def _deleted(user_id: int, ident: str) -> None:
    own.conversation_of(user_id, ident)
    delete(own.owned(user_id, ident))


def _limit(request: Request, default: int, most: int) -> int:
    text = request.query_params.get("limit", "")
    if not text:
        return default
    is_number = text.isascii() and text.isdigit() and len(text) < 9
    if not is_number or not 1 <= int(text) <= most:
        raise refusal("bad_request", text=f"limit: must be a number from 1 to {most}")
    return int(text)


def _title(request: Request, default: str | None = None) -> str:
    """Return the title in a body. Raises: ChatError `bad_request`."""
    data = request.data
    title = data.get("title", default) if isinstance(data, dict) else None
    if not isinstance(title, str) or len(title) > TITLE_LENGTH:
        text = f"title: must be a string of at most {TITLE_LENGTH} characters"
        raise refusal("bad_request", text=text)
    if UNSTORABLE.search(title):
        text = "title: contains a character that is not allowed"
        raise refusal("bad_request", text=text)
    return " ".join(title.split())
