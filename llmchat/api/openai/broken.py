"""What clients are sent about an answer that is not whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmchat.answers.events import Cancelled, End, Failed
from llmchat.api.openai.errors import error_of, object_of
from llmchat.api.openai.usage import is_billed

# Returns the usage of an answer in the format of one of OpenAI's two APIs.
Usage = Callable[[End], dict[str, Any]]


def broken_object(
    end: Failed | Cancelled, usage: Usage, *, is_sent: bool
) -> dict[str, Any]:
    """Return the error that says why an answer is not whole, and what is billed.

    The text is included, unless `is_sent` says that the client has it already.
    """
    fields = object_of(error_of(end))
    if end.partial and not is_sent:
        fields["error"]["partialResponse"] = end.partial
    if is_billed(end):
        fields["error"]["usage"] = usage(end)
    return fields
