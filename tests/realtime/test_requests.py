"""Which requests are let in, in which order they are judged, how they are refused."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.support.wire import Wire, http_client, raw_exchange

REFUSALS = {
    0: ("Transport unknown", 400),
    1: ("Session ID unknown", 400),
    2: ("Bad handshake method", 400),
    3: ("Bad request", 400),
    4: ("Forbidden", 403),
    5: ("Unsupported protocol version", 400),
}


def assert_refused(response: httpx.Response, code: int) -> None:
    message, status = REFUSALS[code]
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert response.text == f'{{"code":{code},"message":"{message}"}}'


@pytest.mark.parametrize(
    ("method", "query", "code"),
    [
        ("GET", "EIO=4", 0),
        ("GET", "EIO=4&transport=abc", 0),
        ("GET", "EIO=4&transport=constructor", 0),
        ("GET", "EIO=4&transport=__proto__", 0),
        ("GET", "EIO=4&transport=webtransport", 0),
        ("GET", "EIO=4&transport=abc&sid=unknown", 0),
        ("GET", "EIO=4&transport=polling&sid=unknown", 1),
        ("GET", "EIO=4&transport=polling&sid=__proto__", 1),
        ("POST", "EIO=4&transport=polling&sid=unknown", 1),
        ("GET", "transport=polling&sid=unknown", 1),
        ("POST", "EIO=4&transport=polling", 2),
        ("PUT", "EIO=4&transport=polling", 2),
        ("POST", "EIO=4&transport=polling&sid=", 2),
        ("GET", "EIO=4&transport=websocket", 3),
        ("GET", "EIO=4&transport=polling&deny=1", 4),
        ("GET", "EIO=3&transport=polling&deny=1", 4),
        ("GET", "transport=polling", 5),
        ("GET", "EIO=3&transport=polling", 5),
        ("GET", "EIO=5&transport=polling", 5),
        ("GET", "EIO=abc&transport=polling", 5),
    ],
)
async def test_refused_request_says_why(
    wire: Wire,
    method: str,
    query: str,
    code: int,
) -> None:
    async with http_client() as http:
        assert_refused(await http.request(method, wire.url(query)), code)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("EIO=4", 0),
        ("EIO=4&transport=webtransport", 0),
        ("EIO=4&transport=websocket&sid=unknown", 1),
        ("EIO=4&transport=polling", 3),
        ("EIO=4&transport=websocket&deny=1", 4),
        ("EIO=3&transport=websocket", 5),
        ("transport=websocket", 5),
    ],
)
async def test_refused_websocket_is_never_accepted(
    wire: Wire,
    query: str,
    code: int,
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with wire.websocket(query):
            pass
    response = refused.value.response
    if wire.kind == "uvicorn":  # daphne can only say 403
        assert response.status_code == REFUSALS[code][1]
        assert json.loads(response.body or b"")["code"] == code
    else:
        assert response.status_code == 403


async def test_origin_with_illegal_characters_is_a_bad_request(
    wire: Wire,
) -> None:
    request = (
        f"GET {wire.target(transport='polling')} HTTP/1.1\r\n"
        "Host: localhost\r\nOrigin: http://a\x7f\r\nConnection: close\r\n\r\n"
    )
    answer = await raw_exchange(wire.port, request.encode("latin-1"))
    assert b" 400 " in answer.split(b"\r\n", 1)[0]


async def test_polling_for_a_websocket_session_is_a_bad_request(
    wire: Wire,
) -> None:
    async with wire.websocket() as client, http_client() as http:
        url = wire.url(transport="polling", sid=client.sid)
        assert_refused(await http.get(url), 3)
        assert_refused(await http.post(url, content="40"), 3)


async def test_stripped_upgrade_is_not_taken_for_a_poll(
    wire: Wire,
) -> None:
    """A proxy that strips `Upgrade` must not make a client lose events."""
    async with wire.polling() as client:
        await client.post("40")
        stripped = wire.url(transport="websocket", sid=client.sid)
        assert_refused(await client.http.get(stripped), 3)
        assert (await client.receive()).startswith("40{")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_other_method_has_no_effect_on_the_session(
    wire: Wire,
    method: str,
) -> None:
    async with wire.polling() as client:
        response = await client.http.request(method, client.url)
        assert response.status_code in (400, 405)
        await client.join()


async def test_parameters_are_kept_for_the_application(
    wire: Wire,
) -> None:
    """Unknown ones and `j` are ignored; if one is repeated, the last counts."""
    query = "t=x1&room=a&room=%C3%A9+b&j=0"
    async with http_client() as http:
        url = wire.url(f"{query}&transport=polling&EIO=4")
        response = await http.get(url)
        assert response.text.startswith("0{")
    async with wire.websocket(f"{query}&EIO=4&transport=websocket") as client:
        await client.read()
        await client.join()
        [who] = await client.ask("whoami")
    assert who["query"] == {
        "t": "x1",
        "room": "é b",
        "j": "0",
        "EIO": "4",
        "transport": "websocket",
    }


async def test_empty_sid_opens_a_session(wire: Wire) -> None:
    async with wire.polling(sid="") as client:
        assert client.sid


async def test_session_ids_are_secret_and_unlike_socket_ids(
    wire: Wire,
) -> None:
    seen: set[str] = set()
    for _ in range(5):
        async with wire.websocket() as client:
            answer = await client.join()
            seen |= {client.sid, answer["sid"], answer["pid"]}
    assert len(seen) == 15
    # At six bits a character, that is at least 96 bits.
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{16,}", one) for one in seen)


async def test_path_without_slash_is_not_redirected(wire: Wire) -> None:
    async with http_client() as http:
        for path in ("/socket.io", "/elsewhere/"):
            url = f"http://127.0.0.1:{wire.port}{path}?EIO=4&transport=polling"
            assert (await http.get(url)).status_code == 404


async def test_ten_thousand_headers_do_no_harm(wire: Wire) -> None:
    head = f"GET {wire.target(transport='polling')} HTTP/1.1\r\nHost: localhost\r\n"
    many = "X-Again: x\r\n" * 10_000
    answer = await raw_exchange(
        wire.port, (head + many + "Connection: close\r\n\r\n").encode()
    )
    assert answer.split(b" ")[1:2] in ([b"200"], [b"400"], [b"431"], [])
    await wire.check_healthy()


async def test_handshake_is_shown_to_the_application(
    wire: Wire,
) -> None:
    options: dict[str, Any] = {"additional_headers": {"X-Tenant": "blue"}}
    async with wire.websocket(**options) as client:
        await client.join(auth={"token": "123"})
        [who] = await client.ask("whoami")
    assert who["headers"]["x-tenant"] == "blue"
    assert who["auth"] == {"token": "123"}
