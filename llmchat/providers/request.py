"""What every adapter's `build_request` shares: the request and the history in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .errors import BadRequestError, ProviderUnavailableError
from .text import well_formed
from .types import Chat, ChatMessage, Provider


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """One POST of a JSON body. The headers hold the key, hence no repr of them."""

    url: str
    headers: dict[str, str] = field(repr=False)
    body: dict[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class History:
    """A conversation that every provider takes.

    `system` is all system messages joined. `turns` are never empty, alternate,
    begin and end with the user, and none is blank: a stored answer that failed
    would otherwise make each turn after it fail.
    """

    system: str
    turns: tuple[ChatMessage, ...]


def build_history(chat: Chat) -> History:
    """Return the chat's messages as a `History`.

    Raises:
        BadRequestError: nothing is left that a provider could answer.
    """
    system: list[str] = []
    turns: list[ChatMessage] = []
    for message in chat.messages:
        content = well_formed(message.content)
        if not content.strip():
            continue
        if message.role == "system":
            system.append(content)
        elif turns and turns[-1].role == message.role:
            joined = f"{turns[-1].content}\n\n{content}"
            turns[-1] = ChatMessage(message.role, joined)
        elif turns or message.role == "user":
            turns.append(ChatMessage(message.role, content))
    if not turns or turns[-1].role != "user":
        raise BadRequestError(
            "no user message at the end", text="The last message has no text"
        )
    return History("\n\n".join(system), tuple(turns))


def max_tokens(provider: Provider, chat: Chat) -> int | None:
    """Return the limit to ask for: the client's within the provider's, or that."""
    if chat.max_output_tokens is None or provider.max_output_tokens is None:
        return chat.max_output_tokens or provider.max_output_tokens
    return min(chat.max_output_tokens, provider.max_output_tokens)


def temperature(provider: Provider, chat: Chat) -> float | None:
    """Return the temperature to ask for, None where none may be sent."""
    if chat.temperature is None or not provider.accepts_sampling:
        return None
    return min(max(chat.temperature, 0.0), provider.temperature_max)


def endpoint(
    base_url: str,
    path: str,
    *,
    versions: tuple[str, ...] = (),
    bare_version: str = "",
) -> str:
    """Join an operator's base URL and an API path, as the official SDKs do.

    `versions` belong to the path: the first is put before it, behind a gateway's path
    too, unless the base ends in one of them. `bare_version` belongs to the base, which
    has it in its path; it is put there where there is no path at all. The base may end
    in a slash, or hold the whole address already.

    Raises:
        ProviderUnavailableError: the base is not an http(s) address.
    """
    base = base_url.strip().rstrip("/")
    try:
        url = urlsplit(base)
        host = url.hostname
    except ValueError as exc:
        raise ProviderUnavailableError("base URL unreadable", retryable=False) from exc
    if url.scheme not in ("http", "https") or not host:
        raise ProviderUnavailableError("base URL is not http(s)", retryable=False)
    if base.endswith(path):
        return base
    if versions and url.path.rpartition("/")[2] not in versions:
        base = f"{base}/{versions[0]}"
    elif bare_version and not url.path:
        base = f"{base}/{bare_version}"
    return f"{base}{path}"
