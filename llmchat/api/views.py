"""The REST API of the chat, and its page."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import get_script_prefix
from rest_framework.request import Request
from rest_framework.response import Response

import accounts.conf
from accounts.verified import Scope
from llmchat.access import catalogue
from llmchat.access.catalogue import Offer
from llmchat.access.permissions import Access, access_of
from llmchat.access.ratelimit import count_message
from llmchat.answers import runtime
from llmchat.answers.answer import start_answer
from llmchat.answers.events import Done, Failed
from llmchat.answers.follower import Follower
from llmchat.answers.live_stream import LiveStream
from llmchat.api.async_view import (
    AsyncAPIView,
    EventStream,
    follow,
    quiet,
    user_id_of,
    verified_of,
)
from llmchat.api.reading import reading
from llmchat.api.validation import CHAT_FIELDS, turn_from, validated
from llmchat.api.wire import payload
from llmchat.books.turn import Turn
from llmchat.database import read_database
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
        stream = runtime.get().streams.register(
            sender.user_id, turn.session_id, sender.key_id
        )
        if fields.get("stream"):
            return await _streamed(turn, stream)
        return await _whole(turn, stream)


class ProvidersView(AsyncAPIView):
    """`GET /llm/providers`: what a client may name as `provider`."""

    scopes = {"GET": Scope.READ}

    async def get(self, request: Request) -> Response:
        """List the enabled providers that the user may use.

        `models` are those known by name, `allowedModels` patterns of those allowed;
        `configured` says whether it has a key and an address, `usable` whether it can
        answer now; where it cannot, `error` and `code` say why not.
        """
        user_id = user_id_of(request)
        return Response({"providers": await read_database(_providers, user_id)})


def _providers(user_id: int) -> list[dict[str, Any]]:
    access = access_of(user_id)
    return [_offered(offer, access) for offer in catalogue.offers(access)]


def _offered(offer: Offer, access: Access) -> dict[str, Any]:
    name, model = offer.row.name, offer.row.default_model
    fields: dict[str, Any] = {
        "name": name,
        "label": offer.row.label,
        "model": model,
        "models": access.named_models(name, model),
        "allowedModels": access.patterns(name),
        "configured": offer.configured,
        "usable": offer.refusal is None,
    }
    if offer.refusal is not None:
        fields |= {"error": offer.refusal.text, "code": offer.refusal.code}
    return fields


@reading
def healthz(request: HttpRequest) -> JsonResponse:
    """Say that the process answers; nothing behind it is asked."""
    return JsonResponse({"status": "ok"})


def page(request: HttpRequest, conversation_id: str = "") -> HttpResponse:
    """Show the chat page, which asks for the conversation and all else itself."""
    context = {
        "base": get_script_prefix().rstrip("/"),
        "registration": accounts.conf.get().registration,
    }
    return render(request, "chat.html", context)


async def _streamed(turn: Turn, stream: LiveStream) -> EventStream:
    follower = Follower(stream)
    start_answer(turn, stream)
    try:
        # A turn that is refused gets a status of its own, not a stream.
        started = await follower.started()
    except BaseException:
        await follower.leave()
        raise
    return await follow(follower, started)


async def _whole(turn: Turn, stream: LiveStream) -> JsonResponse:
    follower = Follower(stream)
    start_answer(turn, stream)
    try:
        await follower.started()
        last = await follower.ended()
    finally:
        await follower.leave()
    if isinstance(last, Done):
        return JsonResponse(payload(last))
    error = last.error if isinstance(last, Failed) else refusal("cancelled")
    # What was broken off has its text, and is in the conversation.
    fields = {"error": error.text, "code": error.code} | payload(last)
    response = JsonResponse(fields, status=error.status)
    if error.retry_after is not None:
        response["Retry-After"] = str(error.retry_after)
    return quiet(response, error)
