"""The entries of answers that are being written."""

from __future__ import annotations

from llmchat.description.chat import EVENT_STREAM
from llmchat.description.operation import EVENTS, JSON, Answer, Operation, Parameter
from llmchat.description.shapes import TEXT, list_of, record, ref

_TAG = "Streams"

OPERATIONS = {
    "GET /llm/streams": Operation(
        summary="List your answers that are still being written",
        tag=_TAG,
        answers={
            200: Answer(
                "The answers, the oldest first",
                {JSON: record({"streams": list_of(ref("RunningStream"))})},
            )
        },
    ),
    "GET /llm/streams/{messageId}": Operation(
        summary="Follow an answer",
        tag=_TAG,
        details="From its start, or after the event that `Last-Event-ID` names.",
        parameters=(
            Parameter(
                "Last-Event-ID",
                "The `id` of the last event that you received",
                TEXT,
                place="header",
            ),
        ),
        answers={
            200: Answer("The events of the answer", {EVENTS: EVENT_STREAM}),
            204: Answer("You already have the last event", {}),
        },
        codes=("stream_not_found", "rate_limited", "too_many_streams", "interrupted"),
    ),
    "DELETE /llm/streams/{messageId}": Operation(
        summary="Cancel an answer",
        tag=_TAG,
        details="Nothing more is generated or billed. Works even over the rate limit.",
        answers={200: Answer("Cancelled and stored", {JSON: ref("Cancelled")})},
        codes=("stream_not_found",),
    ),
}
