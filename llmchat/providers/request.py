"""What every adapter's `build_request` shares: the request, its limits, its address."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import overload
from urllib.parse import urlsplit

from .errors import ProviderUnavailableError
from .types import Chat, Provider


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """One POST of a JSON body. The headers hold the key, and are not in the repr."""

    url: str
    headers: dict[str, str] = field(repr=False)
    body: dict[str, object] = field(repr=False)


@overload
def max_tokens(provider: Provider, chat: Chat) -> int | None: ...


@overload
def max_tokens(provider: Provider, chat: Chat, default: int) -> int: ...


def max_tokens(
    provider: Provider, chat: Chat, default: int | None = None
) -> int | None:
    """Return the limit to ask for: the lower of the client's and the provider's.

    It is `default` if neither has one, and no more than the model can write, since most
    providers refuse a request for more.
    """
    asked = [
        limit
        for limit in (chat.max_output_tokens, provider.max_output_tokens)
        if limit is not None
    ]
    limit = min(asked, default=default)
    most = provider.model_output_tokens
    return limit if limit is None or most is None else min(limit, most)


def temperature(provider: Provider, chat: Chat) -> float | None:
    """Return the temperature to ask for, None if none may be sent."""
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

    `versions` belong to the path: the first of them is put before it, also after a
    gateway's path, unless the base ends in one of them. `bare_version` belongs to the
    base, and is added only if the base has no path at all. The base may end in a slash,
    or hold the whole address already.

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
