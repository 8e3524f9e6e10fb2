"""DeepSeek: OpenAI's format with reasoning beside the text.

Its reasoning comes in `reasoning_content`, its usage mostly on the finish chunk, and
comments while it is busy; all of that the shared parser takes. What differs is the
address, which has no version, and that thinking is on unless it is switched off.
"""

from __future__ import annotations

from .openai import build_body, note_usage, parse, parse_whole
from .request import ProviderRequest, endpoint
from .types import Chat, Key, Provider

__all__ = ["build_request", "note_usage", "parse", "parse_whole"]


def build_request(provider: Provider, key: Key | None, chat: Chat) -> ProviderRequest:
    """Return the request for a streamed answer.

    Raises:
        ProviderError: the chat or the provider's address cannot be sent.
    """
    body = build_body(provider, chat)
    if provider.thinking == "disabled":
        body["thinking"] = {"type": "disabled"}
    headers = {"Authorization": f"Bearer {key.value}"} if key else {}
    url = endpoint(provider.base_url, "/chat/completions")
    return ProviderRequest(url, headers, body)
