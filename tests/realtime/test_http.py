"""What an HTTP answer carries besides its body: CORS, cookie, compression."""

from __future__ import annotations

import gzip
import zlib

import pytest

from tests.support.wire import RS, Wire, content_of, event, http_client, raw_exchange

ALLOWED = "http://allowed.example"


@pytest.mark.parametrize(
    ("method", "query", "status"),
    [
        ("GET", "EIO=4&transport=polling", 200),
        ("GET", "EIO=4&transport=bad", 400),
        ("GET", "EIO=4&transport=polling&deny=1", 403),
        ("POST", "EIO=4&transport=polling&sid=x", 400),
    ],
)
@pytest.mark.parametrize("origin", [ALLOWED, "http://evil.example", None])
async def test_cors_headers_are_on_every_answer(
    wire: Wire,
    method: str,
    query: str,
    status: int,
    origin: str | None,
) -> None:
    headers = {} if origin is None else {"origin": origin}
    async with http_client() as http:
        response = await http.request(method, wire.url(query), headers=headers)
    assert response.status_code == status
    expected = ALLOWED if origin == ALLOWED else None
    assert response.headers.get("access-control-allow-origin") == expected
    assert "Origin" in response.headers["vary"]
    assert response.headers["access-control-allow-credentials"] == "true"


async def test_cors_headers_are_on_polls_posts_and_413(
    wire: Wire,
) -> None:
    headers = {"origin": ALLOWED}
    async with wire.polling() as client:
        responses = [
            await client.post("40", headers=headers),
            await client.get(headers=headers),
            await client.post("x" * 20_000, headers=headers),
        ]
        assert [response.status_code for response in responses] == [200, 200, 413]
        for response in responses:
            assert response.headers["access-control-allow-origin"] == ALLOWED


@pytest.mark.parametrize("sid", ["", "&sid=unknown"])
async def test_preflight(wire: Wire, sid: str) -> None:
    async with http_client() as http:
        response = await http.options(
            wire.url(f"EIO=4&transport=polling{sid}"),
            headers={
                "origin": ALLOWED,
                "access-control-request-method": "POST",
                "access-control-request-headers": "x-tenant,content-type",
            },
        )
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["access-control-allow-origin"] == ALLOWED
    methods = response.headers["access-control-allow-methods"].split(",")
    assert {"GET", "POST"} <= set(methods)
    allowed = response.headers["access-control-allow-headers"]
    assert allowed == "x-tenant,content-type"
    assert "Access-Control-Request-Headers" in response.headers["vary"]
    assert "set-cookie" not in response.headers
    assert response.headers.get("content-length", "0") == "0"


async def test_cookie_is_set_by_the_polling_handshake_alone(
    wire: Wire,
) -> None:
    async with http_client() as http:
        response = await http.get(wire.url(transport="polling"))
        sid = response.text.split('"')[3]
        cookie = response.headers["set-cookie"]
        assert cookie == f"io={sid}; Path=/; HttpOnly; SameSite=Lax"
        url = wire.url(transport="polling", sid=sid)
        http.cookies.clear()  # the server never needs it
        posted = await http.post(url, content="40")
        polled = await http.get(url)
        assert (posted.status_code, polled.status_code) == (200, 200)
        assert "set-cookie" not in posted.headers
        assert "set-cookie" not in polled.headers


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br", "gzip"),
        ("deflate", "deflate"),
        ("gzip;q=0, deflate;q=0.5", "deflate"),
        ("identity", None),
        ("br", None),
    ],
)
async def test_long_poll_answer_is_compressed_where_it_is_taken(
    wire: Wire,
    accepted: str,
    coding: str | None,
) -> None:
    async with wire.polling() as client:
        await client.join()
        await client.post(event("echo", "x" * 2_000))
        head = (
            f"GET {wire.target(transport='polling', sid=client.sid)} HTTP/1.1\r\n"
            f"Host: x\r\nAccept-Encoding: {accepted}\r\nConnection: close\r\n\r\n"
        )
        answer = await raw_exchange(wire.port, head.encode(), limit=-1)
    headers, _, body = answer.partition(b"\r\n\r\n")
    response = dict(line.lower().split(b": ", 1) for line in headers.split(b"\r\n")[1:])
    assert int(response[b"content-length"]) == len(body)
    assert response.get(b"content-encoding") == (coding.encode() if coding else None)
    unpack = {"gzip": gzip.decompress, "deflate": zlib.decompress, None: bytes}
    text = unpack[coding](body).decode()
    assert content_of(text.split(RS)[0])[1] == "x" * 2_000


async def test_short_poll_answer_is_not_compressed(
    wire: Wire,
) -> None:
    async with wire.polling() as client:
        await client.post("40")
        response = await client.get(headers={"accept-encoding": "gzip"})
        assert "content-encoding" not in response.headers
