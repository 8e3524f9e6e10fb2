"""Which pages and which host names may reach the sockets, checked on every request."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from llmchat.api import origins
from tests.conftest import StartServer
from tests.support.live import LiveServer

OPEN = {"EIO": "4", "transport": "polling"}
FOREIGN = [
    "http://evil.example",
    "null",
    "http://[",
    "http://[::1",
    "http://a]b",
    "//{own}",
    "{own}",
    "ftp://{own}",
    "http://{own}.evil.example",
    "http://evil.example/{own}",
]


def address(server: LiveServer) -> str:
    return f"127.0.0.1:{server.port}"


async def get(
    server: LiveServer, query: dict[str, str], **headers: str
) -> httpx.Response:
    async with httpx.AsyncClient() as http:
        url = server.url + "/socket.io/"
        return await http.get(url, params=query, headers=headers, timeout=10)


async def opened(server: LiveServer) -> dict[str, str]:
    """Open a session; return the query that names it."""
    answer = await get(server, OPEN)
    return {**OPEN, "sid": answer.text.split('"')[3]}


@pytest.mark.parametrize("origin", FOREIGN)
async def test_foreign_origin_opens_nothing(server: LiveServer, origin: str) -> None:
    answer = await get(server, OPEN, Origin=origin.format(own=address(server)))
    assert answer.status_code == 403
    assert answer.json() == {"code": 4, "message": "Origin not allowed"}


@pytest.mark.parametrize("origin", ["http://evil.example", "http://["])
async def test_foreign_origin_reaches_no_session_that_is_there(
    server: LiveServer, origin: str
) -> None:
    query = await opened(server)
    assert (await get(server, query, Origin=origin)).status_code == 403
    url = f"ws://{address(server)}/socket.io/?EIO=4&transport=websocket"
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{url}&sid={query['sid']}", origin=origin):  # type: ignore[arg-type]
            pass
    # Daphne's own check refuses a malformed origin as a bad request.
    assert refused.value.response.status_code in (400, 403)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_servers_own_pages_are_let_in(
    server: LiveServer, scheme: str
) -> None:
    answer = await get(server, OPEN, Origin=f"{scheme}://{address(server)}")
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("origin", "host", "is_own"),
    [
        ("https://chat.example.com:8443", "chat.example.com", True),
        ("https://chat.example.com", "chat.example.com:443", True),
        ("https://chat.example.com", "chat.example.com:80", True),
        ("http://chat.example.com:3000", "chat.example.com:3000", True),
        ("http://[::1]:3000", "[::1]", True),
        ("https://Chat.example.com", "chat.example.com", True),
        ("https://chat.example.com", "chat.example.com:8443", False),
        ("https://chat.example.com:8443", "chat.example.com:443", False),
        ("http://chat.example.com:3001", "chat.example.com:3000", False),
        ("https://evil.example:8443", "chat.example.com", False),
        ("https://chat.example.com.evil.example", "chat.example.com", False),
        ("https://chat.example.com@evil.example", "chat.example.com", False),
        ("https://chat.example.com/", "chat.example.com", False),
        ("capacitor://chat.example.com", "chat.example.com", False),
        ("https://chat.example.com:99999", "chat.example.com", False),
        ("https://", "", False),
        ("null", "null", False),
    ],
)
def test_a_page_is_the_servers_own_by_its_name_and_port(
    origin: str, host: str, is_own: bool
) -> None:
    assert origins.is_own(origin, host) is is_own


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("capacitor://localhost", True),
        ("tauri://localhost", True),
        ("https://app.example.org", True),
        ("https://a.b-c.example.org", True),
        ("https://example.org", False),
        ("http://app.example.org", False),
        ("https://app.example.org:8443", False),
        ("https://app.example.org.evil.example", False),
        ("https://evilexample.org", False),
        ("https://app.example.org\n", False),
        ("https://evil.example/.example.org", False),
        ("https://a@.example.org", False),
        ("ionic://localhost", False),
    ],
)
def test_apps_and_names_below_a_domain_are_let_in(
    settings: Any, origin: str, allowed: bool
) -> None:
    configured = ("capacitor://localhost", "tauri://localhost", "https://*.example.org")
    settings.LLMCHAT = settings.LLMCHAT | {"cors_allowed_origins": configured}

    assert origins.is_allowed(origin) is allowed


async def test_an_app_and_a_proxied_page_open_a_session(
    start_server: StartServer,
) -> None:
    env = {
        "CORS_ALLOWED_ORIGINS": "capacitor://localhost,https://*.example.org",
        "ALLOWED_HOSTS": "chat.example.com,127.0.0.1",
    }
    server = start_server("uvicorn", env)

    for origin in ("capacitor://localhost", "https://app.example.org"):
        answer = await get(server, OPEN, Origin=origin)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == origin
    own = await get(
        server, OPEN, Origin="https://chat.example.com:8443", Host="chat.example.com"
    )
    assert own.status_code == 200


async def test_wrong_host_is_refused_by_sockets_and_rest_alike(
    server: LiveServer,
) -> None:
    assert (await get(server, OPEN, Host="evil.example")).status_code == 403
    async with httpx.AsyncClient() as http:
        url = server.url + "/llm/providers"
        answer = await http.get(url, headers={"Host": "evil.example"})
    assert answer.status_code == 400
    assert "Invalid HTTP_HOST" not in server.log_text()
