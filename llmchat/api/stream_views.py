"""The REST API of answers that are being written: find one, follow it, cancel it."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.verified import Scope
from llmchat.access.ratelimit import count_message, count_obeyed
from llmchat.answers.answer import find_stream, no_stream, running_streams
from llmchat.answers.follower import Follower, is_begun
from llmchat.answers.log import AnswerLog
from llmchat.api.async_view import (
    END_ID,
    AsyncAPIView,
    follow,
    stream_headers,
    user_id_of,
    verified_of,
)
from llmchat.api.wire import place, started_fields
from llmchat.errors import refusal


class StreamsView(AsyncAPIView):
    """`GET /llm/streams`: the user's running streams."""

    scopes = {"GET": Scope.READ}

    async def get(self, request: Request) -> Response:
        """List the streams that the user can attach to, the oldest first."""
        streams = await running_streams(user_id_of(request))
        return Response({"streams": list(map(started_fields, streams))})


class StreamView(AsyncAPIView):
    """`/llm/streams/{messageId}`: one of the user's streams."""

    scopes = {"GET": Scope.READ, "DELETE": Scope.CHAT}

    async def get(self, request: Request, message_id: str) -> HttpResponseBase:
        """Follow it as server-sent events, after `Last-Event-ID` if that is sent.

        A client that has the end gets 204, which stops an `EventSource` for good.
        """
        sender = verified_of(request)
        await count_message(sender)
        stream = await _found(sender.user_id, message_id)
        last = request.headers.get("Last-Event-ID", "")
        if last == END_ID:
            return HttpResponse(status=204)
        at = await _position(last, stream)
        if request.method == "HEAD":
            return stream_headers()
        started = None if last else stream.started
        return await follow(Follower(stream, at), started)

    async def delete(self, request: Request, message_id: str) -> Response:
        """Cancel it, and respond when its end is stored."""
        sender = verified_of(request)
        count_obeyed(sender)
        stream = await _found(sender.user_id, message_id, is_to_stop=True)
        started = stream.started
        if started is None or stream.end is not None:
            raise no_stream()
        # A mirror without a reader would not receive the end.
        follower = Follower(stream, stream.chars)
        try:
            if not await stream.stop():
                raise no_stream()
            await follower.ended()
        finally:
            await follower.leave()
        return Response({"ok": True, **place(started)})


async def _found(
    user_id: int, message_id: str, *, is_to_stop: bool = False
) -> AnswerLog:
    """Return the user's stream of that message.

    Raises: ChatError `stream_not_found`, `too_many_streams`.
    """
    try:
        ident = UUID(message_id)
    except ValueError as exc:
        raise no_stream() from exc
    stream = await find_stream(user_id, message_id=ident, is_to_stop=is_to_stop)
    # It is listed once its row is stored, perhaps before its start is noted here.
    if not await is_begun(stream, ident):
        raise no_stream()
    return stream


async def _position(last: str, stream: AnswerLog) -> int:
    """Return how many characters a client has, by the id of the last event it got.

    Raises: ChatError `bad_request`, if this stream cannot have sent that id.
    """
    if not last:
        return 0
    is_number = last.isascii() and last.isdigit() and len(last) < 16
    if not is_number or not await stream.reaches(int(last)):
        raise refusal(
            "bad_request", text="Last-Event-ID is not an event of this stream"
        )
    return min(int(last), stream.chars)
