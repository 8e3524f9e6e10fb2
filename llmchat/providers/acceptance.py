"""Whether a provider can take a chat at all, checked before anything is stored."""

from __future__ import annotations

from .history import build_history
from .options import too_deep
from .registry import ADAPTERS
from .text import encode_json
from .types import NO_OPTIONS, Chat, ChatMessage, Provider


def check(provider: Provider, chat: Chat) -> None:
    """Refuse a chat that holds more than text, if the provider cannot take it.

    Raises:
        BadRequestError: with a sentence for a person.
    """
    if chat.options == NO_OPTIONS and not any(map(_is_more_than_text, chat.messages)):
        return  # if anything is wrong with the text, the provider says so
    _check_depth(chat)
    build_history(chat)
    ADAPTERS[provider.protocol].check(provider, chat)


def _check_depth(chat: Chat) -> None:
    """Refuse options that no JSON encoder takes.

    Raises:
        BadRequestError: they are nested too deeply.
    """
    options = chat.options
    try:
        encode_json((options.tools, options.tool_choice, options.response_format))
    except ValueError as exc:
        raise too_deep() from exc


def _is_more_than_text(message: ChatMessage) -> bool:
    return bool(message.images or message.tool_calls or message.role == "tool")
