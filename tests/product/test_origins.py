"""Which pages and which host names may reach the sockets: on every request."""

from __future__ import annotations

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

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
    """The query that names a session which has its open packet."""
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
    # Daphne's own check takes what is no origin at all for a bad request.
    assert refused.value.response.status_code in (400, 403)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_servers_own_pages_are_let_in(
    server: LiveServer, scheme: str
) -> None:
    answer = await get(server, OPEN, Origin=f"{scheme}://{address(server)}")
    assert answer.status_code == 200


async def test_wrong_host_is_refused_by_sockets_and_rest_alike(
    server: LiveServer,
) -> None:
    assert (await get(server, OPEN, Host="evil.example")).status_code == 403
    async with httpx.AsyncClient() as http:
        url = server.url + "/llm/providers"
        answer = await http.get(url, headers={"Host": "evil.example"})
    assert answer.status_code == 400
    assert "Invalid HTTP_HOST" not in server.log_text()
