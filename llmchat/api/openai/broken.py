"""What is told of an answer that is not whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmchat.answers.events import Cancelled, End, Failed
from llmchat.api.openai.errors import error_of, object_of
from llmchat.api.openai.usage import is_billed

# Tells a usage as one of OpenAI's two APIs does.
Usage = Callable[[End], dict[str, Any]]


def broken_object(
    end: Failed | Cancelled, usage: Usage, *, is_sent: bool
) -> dict[str, Any]:
    """Return why an answer is not whole, with what is billed for it.

    Its text goes along unless `is_sent` says that the client has it.
    """
    fields = object_of(error_of(end))
    if end.partial and not is_sent:
        fields["error"]["partialResponse"] = end.partial
    if is_billed(end):
        fields["error"]["usage"] = usage(end)
    return fields
