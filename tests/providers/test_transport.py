"""The transport to the servers: replaceable in one line, with errors of its own."""

from __future__ import annotations

import inspect
import json
import re

import pytest

from llmchat.providers import openai, transport
from llmchat.providers.http.library import LibraryTransport
from llmchat.providers.transport import (
    AddressError,
    ConnectionLostError,
    ConnectTimeoutError,
    Request,
    TransportError,
    UnreachableError,
)
from tests.emulator.application import APIS as EMULATED
from tests.emulator.driver import APIS, Lab, NewTransport, full_listener
from tests.emulator.scenarios import SHORT
from tests.support.provider_script import Script, play

BOTH_WAYS = True
every_api = pytest.mark.parametrize("api", APIS)


def stream(api: str) -> bytes:
    return b"".join(EMULATED[api].events(SHORT))


async def send(new_transport: NewTransport, url: str, connect_s: float = 5.0) -> None:
    http = new_transport(max_connections=1)
    try:
        response = await http.send(Request(url, {}, b"{}", connect_s))
        await response.aclose()
    finally:
        await http.aclose()


@every_api
async def test_the_transport_may_be_another(api: str) -> None:
    played = await play(api, stream(api))
    assert (played.text, played.error) == (SHORT.text, None)


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://127.0.0.1:1/", UnreachableError),
        ("http://no-such-host.invalid/", UnreachableError),
        ("http://[::1", AddressError),
        ("http://a\x00b/", AddressError),
    ],
)
async def test_what_the_libraries_raise_is_translated(
    new_transport: NewTransport, url: str, error: type[TransportError]
) -> None:
    with pytest.raises(error):
        await send(new_transport, url)


async def test_a_connection_that_takes_too_long_is_told_apart(
    new_transport: NewTransport,
) -> None:
    with full_listener() as address, pytest.raises(ConnectTimeoutError):
        await send(new_transport, f"http://{address}", connect_s=0.1)


async def test_a_closed_transport_is_a_lost_connection(
    setting: Lab, new_transport: NewTransport
) -> None:
    http = new_transport(max_connections=1)
    url = f"{setting.server.url}/nothing"
    await (await http.send(Request(url, {}, b"{}", 1.0))).aclose()
    await http.aclose()
    with pytest.raises(ConnectionLostError):
        await http.send(Request(url, {}, b"{}", 1.0))


async def test_a_transport_closed_in_mid_body_is_a_lost_connection(
    setting: Lab, new_transport: NewTransport
) -> None:
    http = new_transport(max_connections=1)
    asked = [{"role": "user", "content": "Hello?"}]
    body = json.dumps({"model": "scenario-endless", "messages": asked, "stream": True})
    url = f"{setting.server.url}/v1/chat/completions"
    headers = {"authorization": "Bearer k", "content-type": "application/json"}
    response = await http.send(Request(url, headers, body.encode(), 1.0))
    assert response.status == 200
    assert await anext(response.body)
    await http.aclose()
    with pytest.raises(ConnectionLostError):
        async for _ in response.body:
            pass
    await response.aclose()


def test_a_request_does_not_show_its_key_or_its_text() -> None:
    request = Request("http://h", {"authorization": "SECRET"}, b"SECRET", 1.0)
    assert "SECRET" not in repr(request)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert transport.__doc__ is not None
    told = re.findall(r"^ {4}[├└─ ]*(\w+Error)", transport.__doc__, re.M)
    real = [
        name
        for name, member in vars(transport).items()
        if inspect.isclass(member) and issubclass(member, TransportError)
    ]
    assert sorted(told) == sorted(real)


BEFORE = [
    (UnreachableError("x"), "provider_unavailable", 3),
    (AddressError("x"), "provider_unavailable", 1),
    (ConnectTimeoutError("x"), "provider_timeout", 3),
    (ConnectionLostError("x"), "provider_error", 3),
]


@pytest.mark.parametrize(("failure", "code", "requests"), BEFORE, ids=str)
async def test_a_failure_before_the_headers(
    failure: Exception, code: str, requests: int
) -> None:
    played = await play("openai", Script(status=failure))
    assert (played.code, played.requests) == (code, requests)


# --- a bug of our own is not a failure of the network ---

BUGS = [RuntimeError("ours"), KeyError("ours"), OSError("ours"), ValueError("ours")]


@pytest.mark.parametrize("bug", BUGS, ids=repr)
async def test_a_bug_in_an_adapter_passes_and_costs_one_request(
    bug: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def parse(name: bytes, data: bytes, reading: object) -> str:
        asked.append(data)
        raise bug

    monkeypatch.setattr(openai, "parse", parse)
    with pytest.raises(type(bug), match="ours"):
        await play("openai", stream("openai"))
    assert len(asked) == 1


async def test_a_bug_in_building_the_request_costs_none(
    setting: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_request(*_: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(openai, "build_request", build_request)
    with pytest.raises(RuntimeError, match="ours"):
        await setting.ask("openai", "short")
    assert setting.server.requests == []


async def test_an_error_of_the_consumer_comes_back_as_it_is(setting: Lab) -> None:
    events = setting.stream("openai", "endless")
    await anext(events)
    with pytest.raises(RuntimeError, match="consumer"):
        await events.athrow(RuntimeError("consumer"))
    await setting.server.until(lambda: not setting.server.open_requests)
    assert len(setting.server.requests) == 1
    assert setting.server.requests[0].hung_up


async def test_a_runtime_error_of_the_library_passes_while_the_client_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    http = LibraryTransport(max_connections=1)

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(http._http, "send", broken)
    with pytest.raises(RuntimeError, match="no network"):
        await http.send(Request("http://127.0.0.1:1/", {}, b"", 1.0))
    await http.aclose()
