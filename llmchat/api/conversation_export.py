"""A user's conversation as a file, sent a page of messages at a time."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from accounts.verified import Scope
from llmchat.api.async_view import AsyncAPIView, user_id_of
from llmchat.api.conversation_fields import in_full, in_list
from llmchat.books.extra import decoded
from llmchat.database import read_database
from llmchat.models import Conversation, Message
from llmchat.reports import own
from llmchat.reports.known_costs import known_cost

_PAGE = 100
KINDS = {
    "json": "application/json",
    "md": "text/markdown; charset=utf-8",
}
_SPEAKERS = {
    Message.Role.SYSTEM.value: "System",
    Message.Role.USER.value: "User",
    Message.Role.ASSISTANT.value: "Assistant",
    Message.Role.TOOL.value: "Tool",
}


class ConversationExportView(AsyncAPIView):
    """`GET /llm/conversations/{id}/export.json` and `export.md`."""

    scopes = {"GET": Scope.READ}
    media_types = ("text/markdown",)

    async def get(
        self, request: Request, conversation_id: str, kind: str
    ) -> HttpResponseBase:
        """Download the conversation."""
        user_id = user_id_of(request)
        row = await read_database(own.conversation_of, user_id, conversation_id)
        pieces = _markdown(row) if kind == "md" else _json(row)
        response = StreamingHttpResponse(
            (piece.encode() async for piece in pieces),
            content_type=KINDS[kind],
        )
        name = f"conversation-{row.pk}.{kind}"
        response["Content-Disposition"] = f'attachment; filename="{name}"'
        return response


async def _messages(row: Conversation) -> AsyncGenerator[Message, None]:
    cursor: str | None = ""
    while cursor is not None:
        page = await read_database(_page, row, cursor)
        for message in page.rows:
            yield message
        cursor = page.cursor


def _page(row: Conversation, cursor: str) -> own.Page[Message]:
    return own.messages_of(row, cursor=cursor, limit=_PAGE)


async def _json(row: Conversation) -> AsyncGenerator[str, None]:
    cost = await read_database(known_cost, row)
    yield _dumped(in_list(row, cost))[:-1] + ', "messages": ['
    comma = ""
    async for message in _messages(row):
        yield f"{comma}\n  {_dumped(in_full(message))}"
        comma = ","
    yield "\n]}\n"


async def _markdown(row: Conversation) -> AsyncGenerator[str, None]:
    yield f"# {row.title or 'Conversation'}\n"
    async for message in _messages(row):
        speaker = _SPEAKERS[message.role]
        by = f" ({message.model})" if message.model else ""
        ended = Message.State.COMPLETE, Message.State.STREAMING
        note = "" if message.state in ended else f"\n*{message.get_state_display()}*\n"
        yield f"\n## {speaker}{by}\n\n{message.content}\n{_calls(message)}{note}"


def _calls(message: Message) -> str:
    calls = decoded(message.extra).get("toolCalls", ())
    return "".join(f"\n`{call['name']}({call['arguments']})`\n" for call in calls)


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
