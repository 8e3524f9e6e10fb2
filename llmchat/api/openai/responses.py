"""`POST /v1/responses`."""

from __future__ import annotations

from uuid import uuid4

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from accounts.verified import Scope, Verified
from llmchat.access.ratelimit import count_message
from llmchat.answers.events import Done
from llmchat.api.answering import begin, ended
from llmchat.api.async_view import verified_of
from llmchat.api.openai.answering import broken, streamed, whole
from llmchat.api.openai.messages import answerable
from llmchat.api.openai.models import target_of
from llmchat.api.openai.previous import instructed, previous_of
from llmchat.api.openai.response_fields import ResponseRequest, response_request
from llmchat.api.openai.response_wire import ResponseObject, ResponseWire
from llmchat.api.openai.usage import response_usage
from llmchat.api.openai.view import OpenAIView
from llmchat.books.turn import Turn
from llmchat.database import read_database
from llmchat.providers.types import ChatMessage, Options


class ResponsesView(OpenAIView):
    """`POST /v1/responses`: one turn, answered whole or as typed events."""

    scopes = {"POST": Scope.CHAT}

    async def post(self, request: Request) -> HttpResponseBase:
        """Answer the turn in the body."""
        sender = verified_of(request)
        await count_message(sender)
        asked = response_request(request.data)
        turn = await read_database(_turn, sender, asked)
        follower, started = await begin(sender, turn)
        if asked.is_streamed:
            return await streamed(follower, started, ResponseWire(asked, started))
        end = await ended(follower)
        if not isinstance(end, Done):
            return broken(started, end, response_usage)
        return whole(started, end, ResponseObject(asked, started).ended(end))


def _turn(sender: Verified, asked: ResponseRequest) -> Turn:
    """Return the turn of a request. Raises: ChatError."""
    target = target_of(sender.user_id, asked.model, sender.key_id)
    before = _before(sender.user_id, asked)
    return Turn(
        session_id=f"v1-{uuid4()}",
        provider=target.provider,
        messages=answerable([*before, *asked.input], "input"),
        model=target.model,
        temperature=asked.temperature,
        max_tokens=asked.max_tokens,
        options=Options(response_format=asked.format),
        stored=len(before) if asked.previous is not None else 0,
    )


def _before(user_id: int, asked: ResponseRequest) -> tuple[ChatMessage, ...]:
    """Return the messages before the input. Raises: ChatError."""
    if asked.previous is None:
        return instructed((), asked.instructions)
    return instructed(previous_of(user_id, asked.previous), asked.instructions)
