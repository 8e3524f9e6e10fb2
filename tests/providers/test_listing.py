"""Which models a provider has, according to its own list."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import pytest

from llmchat.providers import listing
from llmchat.providers.errors import (
    ProviderAuthError,
    ProviderError,
    ProviderQuotaError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from llmchat.providers.http.library import LibraryTransport
from llmchat.providers.listing import Listed, list_models
from llmchat.providers.types import Key, Provider
from tests.emulator.application import emulator

KEY = Key("key 1", "sk-good")
FOUND = {
    "openai": [
        Listed("gpt-6-luna"),
        Listed("gpt-7", retires_on=date(2027, 3, 1)),
        Listed("text-embedding-3"),
    ],
    "deepseek": [Listed("deepseek-flash")],
    "claude": [
        Listed(f"claude-{name}", f"Claude {name}") for name in ("one", "two", "three")
    ],
    "gemini": [
        Listed(f"gemini-{name}", f"Gemini {name}", 1_048_576, 65_536, None, True)
        for name in ("one", "three")
    ],
}


def provider_at(url: str, api: str = "openai") -> Provider:
    return Provider(name="p", protocol=api, label="P", base_url=url)  # type: ignore[arg-type]


@pytest.mark.parametrize("api", FOUND)
async def test_all_pages_of_a_list_are_read(api):
    async with emulator() as server:
        assert await list_models(provider_at(server.url, api), KEY) == FOUND[api]
        assert {request.method for request in server.requests} == {"GET"}
        assert not any(request.raw_body for request in server.requests)
        assert not any("sk-good" in request.target for request in server.requests)


@pytest.mark.parametrize("api", FOUND)
async def test_a_list_is_read_the_way_that_knows_proxies_too(api, monkeypatch):
    monkeypatch.setattr(listing, "new_transport", LibraryTransport)
    async with emulator() as server:
        assert await list_models(provider_at(server.url, api), KEY) == FOUND[api]
        assert {request.method for request in server.requests} == {"GET"}


@pytest.mark.parametrize(
    ("api", "base"),
    [
        ("openai", "/v1"),
        ("openai", "/v1/chat/completions"),
        ("claude", "/v1"),
        ("claude", "/v1/messages"),
        ("gemini", "/v1beta/"),
        ("deepseek", "/"),
    ],
)
async def test_the_list_is_found_however_the_address_is_written(api, base):
    async with emulator() as server:
        found = await list_models(provider_at(server.url + base, api), KEY)
    assert found == FOUND[api]


@pytest.mark.parametrize("api", FOUND)
@pytest.mark.parametrize(
    ("key", "error"),
    [
        (Key("k", "sk-bad-one-0123456789"), ProviderAuthError),
        (Key("k", "sk-broke"), ProviderQuotaError),
        (Key("k", "sk-\n"), ProviderAuthError),
        (None, ProviderAuthError),
    ],
    ids=["bad", "broke", "unprintable", "none"],
)
async def test_a_refusal_is_told(api, key, error):
    if key is not None and key.value == "sk-\n":
        key = Key("k", "sk-\n-x")
    async with emulator() as server:
        with pytest.raises(error) as raised:
            await list_models(provider_at(server.url, api), key)
    assert "SECRET" not in str(raised.value)


@asynccontextmanager
async def answering(answer: Callable[[str], bytes | None]) -> AsyncIterator[str]:
    """Serve what `answer` returns for a target; None: never respond."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = answer(head.decode().split()[1])
        if body is None:
            await reader.read()
        else:
            length = f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(b"HTTP/1.1 200 OK\r\n" + length.encode() + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"


async def listed(body: object, api: str = "openai") -> list[Listed]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with answering(lambda _: data) as url:
        return await list_models(provider_at(url, api), None)


async def test_only_what_can_be_sent_and_stored_is_taken():
    rows: list[Any] = [
        {"id": "good", "context_length": 8192},
        {"id": "good", "context_length": 1},
        {"id": "x" * 129},
        {"id": "a\nb"},
        {"id": "nul\0"},
        {"id": ""},
        {"id": 7},
        {"name": "named", "max_model_len": 4096.0},
        "text",
        None,
        {"id": "odd", "context_length": -1, "shutdown_date": "soon"},
        {"id": "inf", "context_length": 1e400, "shutdown_date": 1e400},
        {"id": "flag", "context_length": True, "shutdown_date": 1_800_000_000},
    ]
    assert await listed({"data": rows}) == [
        Listed("good", context_tokens=8192),
        Listed("named", context_tokens=4096),
        Listed("odd"),
        Listed("inf"),
        Listed("flag", retires_on=date(2027, 1, 15)),
    ]


async def test_a_bare_list_is_one():
    assert await listed([{"id": "a"}]) == [Listed("a")]


async def test_a_model_named_like_the_key_is_not_told():
    key = Key("key 1", "sk-0123456789")
    rows = b'{"data": [{"id": "x-SK-0123456789"}, {"id": "b"}]}'
    async with answering(lambda _: rows) as url:
        assert await list_models(provider_at(url), key) == [Listed("b")]


async def test_a_key_that_is_a_word_hides_no_model():
    key = Key("key 1", "test")
    rows = b'{"data": [{"id": "llama3.2:latest"}, {"id": "qwen3:8b"}]}'
    async with answering(lambda _: rows) as url:
        found = await list_models(provider_at(url), key)
    assert found == [Listed("llama3.2:latest"), Listed("qwen3:8b")]


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"{}", b'{"data": []}', b"7", b'{"data": null}', b"x" * 5_000_000],
)
async def test_what_is_no_list_is_told(body):
    with pytest.raises(ProviderError):
        await listed(body)


async def test_a_list_without_an_end_is_given_up():
    seen: list[str] = []

    def answer(target: str) -> bytes:
        seen.append(target)
        page = {"models": [{"name": f"models/m-{len(seen)}"}], "nextPageToken": "again"}
        return json.dumps(page).encode()

    async with answering(answer) as url:
        with pytest.raises(ProviderError, match="too many pages"):
            await list_models(provider_at(url, "gemini"), None)
    assert len(seen) == 10


async def test_a_silent_provider_is_given_up(monkeypatch):
    monkeypatch.setattr(listing, "_TOTAL_S", 0.2)
    async with answering(lambda _: None) as url:
        with pytest.raises(ProviderTimeoutError):
            await list_models(provider_at(url), None)


@pytest.mark.parametrize("url", ["", "ftp://h", "http://127.0.0.1:1"])
async def test_a_provider_out_of_reach_is_told(url):
    with pytest.raises(ProviderUnavailableError):
        await list_models(provider_at(url), None)
