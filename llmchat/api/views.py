"""The REST API of the chat, and its page."""

from __future__ import annotations

from uuid import uuid4

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import get_script_prefix
from rest_framework.request import Request

import accounts.conf
from accounts.verified import Scope
from llmchat.access.ratelimit import count_message
from llmchat.answers.events import Done, End, Failed
from llmchat.api.answering import begin, ended
from llmchat.api.async_view import AsyncAPIView, follow, quiet, verified_of
from llmchat.api.reading import reading
from llmchat.api.validation import CHAT_FIELDS, turn_from, validated
from llmchat.api.wire import payload
from llmchat.errors import refusal


class ChatView(AsyncAPIView):
    """`POST /llm/chat`: one turn, answered whole or as server-sent events."""

    scopes = {"POST": Scope.CHAT}

    async def post(self, request: Request) -> HttpResponseBase:
        """Answer the turn in the body."""
        sender = verified_of(request)
        await count_message(sender)
        fields = validated(CHAT_FIELDS, request.data)
        turn = turn_from(fields, session_id=f"rest-{uuid4()}")
        follower, started = await begin(sender, turn)
        if fields.get("stream"):
            return await follow(follower, started)
        return _whole(await ended(follower))


@reading
def healthz(request: HttpRequest) -> JsonResponse:
    """Say that the process responds; neither database nor Redis is checked."""
    return JsonResponse({"status": "ok"})


def page(request: HttpRequest, conversation_id: str = "") -> HttpResponse:
    """Show the chat page, which fetches the conversation and all else itself."""
    context = {
        "base": get_script_prefix().rstrip("/"),
        "registration": accounts.conf.get().registration,
    }
    return render(request, "chat.html", context)


def _whole(end: End) -> JsonResponse:
    if isinstance(end, Done):
        return JsonResponse(payload(end))
    error = end.error if isinstance(end, Failed) else refusal("cancelled")
    # An answer that was broken off has its text and ids: it is in the conversation.
    fields = {"error": error.text, "code": error.code} | payload(end)
    response = JsonResponse(fields, status=error.status)
    if error.retry_after is not None:
        response["Retry-After"] = str(error.retry_after)
    return quiet(response, error)
