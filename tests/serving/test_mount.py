"""The whole server below a path of a proxy, which may or may not strip the path."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
import socketio

from serving.mount import unmounted
from serving.refused import Asked, bad_request, busy
from tests.conftest import StartServer
from tests.support.live import LiveServer
from tests.support.prefix_proxy import proxy

PREFIX = "/team/chat"


@pytest.fixture(scope="module")
def mounted(start_server: StartServer) -> LiveServer:
    return start_server("uvicorn", _environment())


def _environment() -> Mapping[str, str]:
    return {"FORCE_SCRIPT_NAME": f"{PREFIX}/", "DJANGO_DEBUG": "0"}


@pytest.fixture(params=[True, False], ids=["stripped", "passed on"])
async def base(
    request: pytest.FixtureRequest, mounted: LiveServer
) -> AsyncIterator[str]:
    async with proxy(mounted.port, PREFIX, strips=request.param) as address:
        yield address


async def test_everything_works_below_the_path(base: str, mounted: LiveServer) -> None:
    account = mounted.account()
    async with httpx.AsyncClient(follow_redirects=True, timeout=30) as client:
        for path in ("", "/", f"/c/{uuid4()}"):
            page = await client.get(f"{base}{path}")
            assert '<meta name="llmchat-base" content="/team/chat">' in page.text

        # Everything that the pages load and link to exists.
        for path in ("/", "/docs", "/admin", "/c/nothing"):
            page = await client.get(f"{base}{path}")
            links = re.findall(r'(?:href|src|action)="(/[^"]*)"', page.text)
            found = [await client.get(f"{_origin(base)}{link}") for link in {*links}]
            lost = [str(answer.url) for answer in found if answer.status_code != 200]
            assert lost == []

        admin = await client.get(f"{base}/admin")
        assert str(admin.url) == f"{base}/admin/login/?next={PREFIX}/admin/"
        assert {cookie.path for cookie in client.cookies.jar} == {PREFIX}

        schema = await client.get(f"{base}/schema?format=json", headers=JSON)
        assert schema.json()["servers"] == [{"url": PREFIX}]

        given = {"username": account.username, "password": account.password}
        tokens = (await client.post(f"{base}/auth/token", json=given)).json()
        bearer = {"Authorization": f"Bearer {tokens['access']}"}
        listed = await client.get(f"{base}/llm/conversations", headers=bearer)
        assert listed.json()["results"] == []
        nothing = await client.get(f"{base}/llm/nothing", headers=bearer)
        assert nothing.json()["code"] == "not_found"

    socket = socketio.AsyncClient(reconnection=False)
    auth = {"token": tokens["access"]}
    await socket.connect(_origin(base), auth=auth, socketio_path=f"{PREFIX}/socket.io")
    attached = await socket.call("llm:stream:attach", {"sessionId": "none"})
    transport = socket.transport()
    await socket.disconnect()
    assert attached["code"] == "stream_not_found"
    assert transport == "websocket"


JSON = {"Accept": "application/json"}


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


@pytest.mark.parametrize(
    ("path", "inner"),
    [
        (PREFIX, "/"),
        (f"{PREFIX}/", "/"),
        (f"{PREFIX}/llm/chat", "/llm/chat"),
        (f"{PREFIX}s/llm/chat", f"{PREFIX}s/llm/chat"),
        ("/llm/chat", "/llm/chat"),
    ],
)
def test_only_the_path_itself_is_taken_off(path: str, inner: str) -> None:
    assert unmounted({"path": path, "root_path": PREFIX}, PREFIX)["path"] == inner


@pytest.mark.parametrize("below", ["", PREFIX], ids=["stripped", "passed on"])
def test_a_page_reads_below_the_path_what_no_application_answers(
    settings: Any, below: str
) -> None:
    settings.FORCE_SCRIPT_NAME = PREFIX
    origin = "https://app.example.com"
    settings.LLMCHAT = settings.LLMCHAT | {"cors_allowed_origins": (origin,)}
    asked = Asked()
    asked.feed(f"GET {below}/llm/chat HTTP/1.1\r\nOrigin: {origin}\r\n\r\n".encode())
    url, headers = f"{below}/v1/models".encode(), [(b"origin", origin.encode())]

    for answer in (busy(asked), bad_request("No", url, headers)):
        assert f"access-control-allow-origin: {origin}".encode() in answer
    _, _, body = bad_request("No", url, headers).partition(b"\r\n\r\n")
    assert json.loads(body)["error"]["message"] == "No"
