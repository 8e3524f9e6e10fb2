"""The REST API of the chat, and its page."""

from __future__ import annotations

from contextlib import aclosing
from uuid import uuid4

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from rest_framework.request import Request
from rest_framework.response import Response

from llmchat import catalogue, permissions, streams
from llmchat.api import AsyncAPIView, EventStream
from llmchat.database import in_database
from llmchat.errors import refusal
from llmchat.events import Done, Failed, Turn, payload
from llmchat.ratelimit import count_message
from llmchat.serializers import ChatRequestSerializer, turn_from, validated
from llmchat.services import stream_answer
from llmchat.streams import LiveStream


class ChatView(AsyncAPIView):
    """`POST /llm/chat`: one turn, answered whole or as server-sent events."""

    async def post(self, request: Request) -> HttpResponseBase:
        """Answer the turn in the body."""
        user_id = int(request.user.pk or 0)
        await count_message(user_id)
        fields = validated(ChatRequestSerializer, request.data)
        turn = turn_from(fields, session_id=f"rest-{uuid4()}")
        stream = streams.register(user_id, turn.session_id)
        if fields["stream"]:
            return await _streamed(turn, stream)
        return await _whole(turn, stream)


class ProvidersView(AsyncAPIView):
    """`GET /llm/providers`: what a client may name as `provider`."""

    async def get(self, request: Request) -> Response:
        """List the enabled providers that the user may use.

        `configured` says whether a key is there; `allowedModels` are patterns.
        """
        user_id = int(request.user.pk or 0)
        rows = await in_database(catalogue.available)
        allowed = await in_database(permissions.allowed_models, user_id)
        providers = [
            {
                "name": row.name,
                "label": row.label,
                "model": row.default_model,
                "configured": configured,
                "allowedModels": models,
            }
            for row, configured in rows
            if (models := allowed.get(row.name, permissions.ALL))
        ]
        return Response({"providers": providers})


def healthz(request: HttpRequest) -> JsonResponse:
    """Say that the process answers; nothing behind it is asked."""
    return JsonResponse({"status": "ok"})


def page(request: HttpRequest) -> HttpResponse:
    """Show the chat page."""
    return render(request, "chat.html")


async def _streamed(turn: Turn, stream: LiveStream) -> EventStream:
    events = stream_answer(turn=turn, stream=stream)
    # A turn that is refused gets a status of its own, not a stream.
    first = await anext(events)
    return EventStream(first, events)


async def _whole(turn: Turn, stream: LiveStream) -> JsonResponse:
    async with aclosing(stream_answer(turn=turn, stream=stream)) as events:
        async for event in events:
            last = event
    if isinstance(last, Failed):
        raise last.error
    if not isinstance(last, Done):
        raise refusal("cancelled")
    return JsonResponse(payload(last))
