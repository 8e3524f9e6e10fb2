"""Which models a provider has, according to its own list of them.

    OpenAI's, and the many that speak it    GET …/models
    DeepSeek                                GET …/models
    Anthropic                               GET …/v1/models, in pages
    Gemini                                  GET …/v1beta/models, in pages

All of it is bounded: the pages, the models, the bytes and the time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from urllib.parse import urlencode

from .classify import error_from_response
from .claude_body import API_VERSION
from .errors import (
    ProviderAuthError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from .gemini_body import VERSIONS
from .http.default import new_transport
from .request import endpoint
from .text import decode_json, holds_key, well_formed
from .transport import (
    AddressError,
    ConnectTimeoutError,
    Request,
    Response,
    Transport,
    TransportError,
    UnreachableError,
)
from .types import Key, Provider

MAX_MODELS = 1000
NAME_LENGTH = 128
_MAX_PAGES = 10
_MAX_PAGE_BYTES = 4 * 1024 * 1024
_CONNECT_S = 5.0
_TOTAL_S = 20.0
_HIGHEST = 2**31 - 1
_CHAT_PATHS = ("/chat/completions", "/messages")


@dataclass(frozen=True, slots=True)
class Listed:
    """A model on a provider's list; None and "" mean that the provider does not say."""

    name: str
    label: str = ""
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    retires_on: date | None = None
    reasons: bool | None = None


async def list_models(provider: Provider, key: Key | None) -> list[Listed]:
    """Return the models that a provider lists, each once.

    Raises:
        ProviderError: it has no list, or does not show it to us.
    """
    transport = new_transport(max_connections=1)
    try:
        async with asyncio.timeout(_TOTAL_S):
            return await _all_pages(transport, provider, key)
    except TimeoutError as exc:
        raise ProviderTimeoutError("a time limit was reached") from exc
    except ProviderError as exc:
        if key is not None:
            exc.hide(key.value)
        raise
    finally:
        await transport.aclose()


async def _all_pages(
    transport: Transport, provider: Provider, key: Key | None
) -> list[Listed]:
    found: dict[str, Listed] = {}
    query: dict[str, str] | None = _first_query(provider)
    for _ in range(_MAX_PAGES):
        page = await _page(transport, _request(provider, key, query or {}))
        for model in _models_of(page, key):
            found.setdefault(model.name, model)
        query = _next_query(page)
        if query is None:
            return list(found.values())
        if len(found) > MAX_MODELS:
            break
    raise ProviderError("the list of models has too many pages")


def _first_query(provider: Provider) -> dict[str, str]:
    if provider.protocol == "claude":
        return {"limit": "1000"}
    return {"pageSize": "1000"} if provider.protocol == "gemini" else {}


def _next_query(page: Mapping[str, object]) -> dict[str, str] | None:
    """Return the query for the next page, None after the last one."""
    token, last = page.get("nextPageToken"), page.get("last_id")
    if isinstance(token, str) and token:
        return {"pageSize": "1000", "pageToken": token}
    if page.get("has_more") is True and isinstance(last, str) and last:
        return {"limit": "1000", "after_id": last}
    return None


def _request(provider: Provider, key: Key | None, query: Mapping[str, str]) -> Request:
    base = provider.base_url.strip().rstrip("/")
    for path in _CHAT_PATHS:
        base = base.removesuffix(path)
    value = _checked(key)
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    headers["User-Agent"] = "llmchat"
    match provider.protocol:
        case "claude":
            url = endpoint(base, "/models", versions=("v1",))
            headers["anthropic-version"] = API_VERSION
            headers |= {"x-api-key": value} if value else {}
        case "gemini":
            url = endpoint(base, "/models", versions=VERSIONS)
            headers |= {"x-goog-api-key": value} if value else {}
        case protocol:
            version = "" if protocol == "deepseek" else "v1"
            url = endpoint(base, "/models", bare_version=version)
            headers |= {"Authorization": f"Bearer {value}"} if value else {}
    if query:
        url = f"{url}?{urlencode(query)}"
    return Request(url, headers, b"", _CONNECT_S, method="GET")


def _checked(key: Key | None) -> str:
    if key is None:
        return ""
    value = key.value.strip()
    if not value or not value.isascii() or not value.isprintable():
        raise ProviderAuthError("the key has characters that a header cannot have")
    return value


async def _page(transport: Transport, request: Request) -> Mapping[str, object]:
    try:
        response = await transport.send(request)
        async with aclosing(response):
            body = await _read(response)
    except ConnectTimeoutError as exc:
        raise ProviderTimeoutError(str(exc)) from exc
    except (AddressError, UnreachableError) as exc:
        raise ProviderUnavailableError(str(exc)) from exc
    except TransportError as exc:
        raise ProviderError(str(exc)) from exc
    if response.status != 200:
        raise error_from_response(response.status, response.headers, body)
    try:
        page = decode_json(body)
    except ValueError as exc:
        raise ProviderError("the list of models is not JSON") from exc
    if isinstance(page, list):  # some gateways
        page = {"data": page}
    if not isinstance(page, dict) or not any(map(page.get, ("data", "models"))):
        raise ProviderError("the list of models is empty")
    return page


async def _read(response: Response) -> bytes:
    body = bytearray()
    async for chunk in response.body:
        body += chunk
        if len(body) > _MAX_PAGE_BYTES:
            raise ProviderError("the list of models is too long")
    return bytes(body)


def _models_of(page: Mapping[str, object], key: Key | None) -> Iterator[Listed]:
    rows = page.get("data") or page.get("models")
    for row in rows if isinstance(rows, list) else ():
        model = _model(row) if isinstance(row, dict) else None
        if model is None or (key is not None and holds_key(model.name, key.value)):
            continue
        yield model


def _model(row: Mapping[str, object]) -> Listed | None:
    methods = row.get("supportedGenerationMethods")
    if isinstance(methods, list) and "generateContent" not in methods:
        return None  # it does not chat
    name = _text(row.get("id")) or _text(row.get("name")).removeprefix("models/")
    if not name or len(name) > NAME_LENGTH:
        return None
    thinking = row.get("thinking")
    return Listed(
        name,
        label=_text(row.get("display_name")) or _text(row.get("displayName")),
        context_tokens=_count(
            row, "inputTokenLimit", "context_length", "max_model_len", "context_window"
        ),
        max_output_tokens=_count(row, "outputTokenLimit", "max_output_tokens"),
        retires_on=_day(row.get("shutdown_date")),
        reasons=thinking if isinstance(thinking, bool) else None,
    )


def _text(value: object) -> str:
    """Return a text of one line that every database can store, or ""."""
    if not isinstance(value, str):
        return ""
    text = well_formed(value).strip()
    return text[: NAME_LENGTH + 1] if text.isprintable() else ""


def _count(row: Mapping[str, object], *names: str) -> int | None:
    for name in names:
        value = row.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        if math.isfinite(value) and 1 <= value <= _HIGHEST:
            return int(value)
    return None


def _day(value: object) -> date | None:
    """Return a day that is given as a date, or in seconds since 1970."""
    try:
        if isinstance(value, str):
            return date.fromisoformat(value[:10])
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC).date()
    except (ValueError, OverflowError, OSError):
        pass
    return None
