"""What the acknowledgements of the documented events say."""

from __future__ import annotations

from llmchat.answers.log import AnswerLog
from llmchat.api.wire import attached_fields, place
from llmchat.errors import ChatError, refusal
from llmchat.realtime import Ack


def reject(ack: Ack | None, error: ChatError) -> None:
    """Acknowledge with a refusal, and when to try again if that is known."""
    if ack is not None:
        answer = {"ok": False, "error": error.text, "code": error.code}
        if error.retry_after is not None:
            answer["retryAfter"] = error.retry_after
        ack(answer)


def accept(ack: Ack | None, stream: AnswerLog, error: ChatError | None = None) -> None:
    """Acknowledge with the ids of an answer that has begun or was cancelled."""
    if error is not None:
        reject(ack, error)
    elif ack is not None:
        assert stream.started is not None
        ack({"ok": True, **place(stream.started)})


def accept_attached(ack: Ack, stream: AnswerLog, error: ChatError | None) -> None:
    """Acknowledge with the text so far; the rest follows as tokens.

    `error` is why the answer has not begun. Only the client that asked the question is
    told that; for others there is no such stream.
    """
    if error is not None:
        reject(ack, refusal("stream_not_found"))
    else:
        ack({"ok": True} | attached_fields(stream))
