"""New connections of the lean transport, and which transport is used."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys

import pytest

from llmchat.providers.http import default, dialer, names
from llmchat.providers.http.library import LibraryTransport
from llmchat.providers.http.names import Found, NameResolver
from llmchat.providers.http.pool import PooledTransport
from llmchat.providers.transport import (
    ConnectionLostError,
    UnreachableError,
)
from tests.support.live import ROOT
from tests.support.provider_sockets import (
    Peer,
    answer_for_ever,
    ask,
    sockets,
    transport,
)


def addresses(host: str) -> Found:
    kind = socket.SOCK_STREAM, socket.IPPROTO_TCP
    found = "127.0.0.9", "127.0.0.1"
    return [(socket.AF_INET, *kind, "", (address, 0)) for address in found]


async def test_the_next_address_is_tried_where_one_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def sock_connect(sock: socket.socket, address: tuple[str, int]) -> None:
        if address[0] == "127.0.0.9":
            await asyncio.sleep(3600)
        await connect(sock, address)

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    monkeypatch.setattr(names, "SHARED", NameResolver(addresses))
    monkeypatch.setattr(dialer, "_NEXT_ADDRESS_S", 0.01)
    async with sockets(answer_for_ever) as served, transport() as http:
        url = served.url.replace("127.0.0.1", "two-addresses")
        assert await ask(http, url) == b"0"


async def test_a_server_that_closes_at_once_is_a_failure_and_no_leak() -> None:
    async def serve(peer: Peer) -> None:
        peer.writer.transport.abort()

    async with sockets(serve) as served, transport() as http:
        for _ in range(20):
            with pytest.raises((ConnectionLostError, UnreachableError)):
                await ask(http, served.url)


# --- which transport ---


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
async def test_proxies_are_the_libraries_business(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    made = default.new_transport(max_connections=1)
    assert isinstance(made, LibraryTransport)
    await made.aclose()


async def test_without_a_proxy_the_lean_one_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_PROXY", "example.com")
    assert isinstance(default.new_transport(max_connections=1), PooledTransport)


def test_the_libraries_are_not_loaded_where_they_are_not_used() -> None:
    code = (
        "import sys; from llmchat.providers.http.default import new_transport;"
        "new_transport(max_connections=1);"
        "print({'httpx', 'aiohttp'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"
