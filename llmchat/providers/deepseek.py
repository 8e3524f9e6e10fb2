"""DeepSeek: OpenAI's format with reasoning beside the text.

Reasoning comes in `reasoning_content`, usage mostly on the finish chunk, and comments
while the server is busy; the shared parser handles all of that. Two things differ: the
address has no version, and thinking is on unless it is switched off.
"""

from __future__ import annotations

from collections.abc import Mapping

from .openai import note_usage, parse, parse_whole
from .openai_body import build_body
from .options import kind_of_format, not_taken, refuse_images
from .request import ProviderRequest, endpoint
from .types import Chat, Key, Provider

__all__ = ["build_request", "check", "note_usage", "parse", "parse_whole"]

_MAX_STOPS = 16


def build_request(provider: Provider, key: Key | None, chat: Chat) -> ProviderRequest:
    """Return the request for a streamed answer.

    Raises:
        ProviderError: the chat or the provider's address cannot be sent.
    """
    check(provider, chat)
    body = build_body(provider, chat)
    if provider.thinking == "disabled":
        body["thinking"] = {"type": "disabled"}
    elif chat.options.tools or any(message.tool_calls for message in chat.messages):
        _add_reasoning(body)
    headers = {"Authorization": f"Bearer {key.value}"} if key else {}
    url = endpoint(provider.base_url, "/chat/completions")
    return ProviderRequest(url, headers, body)


def _add_reasoning(body: Mapping[str, object]) -> None:
    """Add reasoning to each earlier answer, without which tools are refused.

    The original reasoning is not kept, but an empty one will do.
    """
    messages = body["messages"]
    for message in messages if isinstance(messages, list) else ():
        if message["role"] == "assistant":
            message["reasoning_content"] = ""


def check(provider: Provider, chat: Chat) -> None:
    """Refuse what DeepSeek cannot take.

    Raises:
        BadRequestError: the chat has any of that.
    """
    options = chat.options
    refuse_images(provider, chat)
    if options.seed is not None:
        raise not_taken(provider, "does not support seed")
    if len(options.stop) > _MAX_STOPS:
        raise not_taken(provider, f"supports at most {_MAX_STOPS} stop sequences")
    if kind_of_format(options) not in ("text", "json_object"):
        raise not_taken(
            provider, "supports only text and json_object as response_format"
        )
