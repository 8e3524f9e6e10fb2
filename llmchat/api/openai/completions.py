"""`POST /v1/chat/completions`."""

from __future__ import annotations

from uuid import uuid4

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from accounts.verified import Scope
from llmchat.access.ratelimit import count_message
from llmchat.answers.events import Done
from llmchat.api.answering import begin, ended
from llmchat.api.async_view import verified_of
from llmchat.api.openai.answering import broken, streamed, whole
from llmchat.api.openai.completion_fields import (
    CompletionRequest,
    completion_request,
)
from llmchat.api.openai.completion_wire import CompletionWire, completion
from llmchat.api.openai.models import Target, target_of
from llmchat.api.openai.usage import completion_usage
from llmchat.api.openai.view import OpenAIView
from llmchat.books.turn import Turn
from llmchat.database import read_database


class ChatCompletionsView(OpenAIView):
    """`POST /v1/chat/completions`: one turn, answered whole or as chunks."""

    scopes = {"POST": Scope.CHAT}

    async def post(self, request: Request) -> HttpResponseBase:
        """Answer the turn in the body."""
        sender = verified_of(request)
        await count_message(sender)
        asked = completion_request(request.data)
        user_id, key_id = sender.user_id, sender.key_id
        target = await read_database(target_of, user_id, asked.model, key_id)
        follower, started = await begin(sender, _turn(asked, target))
        if asked.is_streamed:
            wire = CompletionWire(started, tells_usage=asked.tells_usage)
            return await streamed(follower, started, wire)
        end = await ended(follower)
        if not isinstance(end, Done):
            return broken(started, end, completion_usage)
        return whole(started, end, completion(started, end))


def _turn(asked: CompletionRequest, target: Target) -> Turn:
    return Turn(
        session_id=f"v1-{uuid4()}",
        provider=target.provider,
        messages=asked.messages,
        model=target.model,
        temperature=asked.temperature,
        max_tokens=asked.max_tokens,
        options=asked.options,
    )
