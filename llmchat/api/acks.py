"""What the acknowledgements of the documented events say."""

from __future__ import annotations

from llmchat.answers.log import AnswerLog
from llmchat.api.wire import place, standing
from llmchat.errors import ChatError, refusal
from llmchat.realtime import Ack


def reject(ack: Ack | None, error: ChatError) -> None:
    """Say no, and when to try again where that is known."""
    if ack is not None:
        answer = {"ok": False, "error": error.text, "code": error.code}
        if error.retry_after is not None:
            answer["retryAfter"] = error.retry_after
        ack(answer)


def accept(ack: Ack | None, stream: AnswerLog, error: ChatError | None = None) -> None:
    """Say where the answer is that has begun, or has been cancelled."""
    if error is not None:
        reject(ack, error)
    elif ack is not None:
        assert stream.started is not None
        ack({"ok": True, **place(stream.started)})


def accept_attached(ack: Ack, stream: AnswerLog, error: ChatError | None) -> None:
    """Hand over the text so far; what follows it is heard.

    `error` is why the answer has not begun, which is told to whoever asked for it.
    """
    if error is not None:
        reject(ack, refusal("stream_not_found"))
    else:
        ack({"ok": True} | standing(stream))
