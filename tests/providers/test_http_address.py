"""Requests of the lean transport: addresses and bytes."""

from __future__ import annotations

import pytest

from llmchat.providers.http import address
from llmchat.providers.transport import (
    AddressError,
)
from tests.support.provider_sockets import Peer, read, request, sockets, transport


async def test_a_request_is_one_post_with_its_length() -> None:
    seen = []

    async def serve(peer: Peer) -> None:
        seen.append(await peer.read_request())
        await peer.answer()

    async with sockets(serve) as served, transport() as http:
        sent = request(f"{served.url}/chat?a=b c".replace(" ", "%20"), b"body", X="y")
        await read(await http.send(sent))
        host = served.url.split("/")[2].encode()
    assert seen == [
        b"POST /v1/chat?a=b%20c HTTP/1.1\r\nHost: " + host + b"\r\n"
        b"X: y\r\nContent-Length: 4\r\n\r\nbody"
    ]


@pytest.mark.parametrize(
    ("url", "head", "origin"),
    [
        ("http://H", "POST / HTTP/1.1\r\nHost: h\r\n", ("h", 80, False)),
        ("https://h:443/a", "POST /a HTTP/1.1\r\nHost: h\r\n", ("h", 443, True)),
        ("https://h:8443/", "POST / HTTP/1.1\r\nHost: h:8443\r\n", ("h", 8443, True)),
        ("http://[::1]:1/", "POST / HTTP/1.1\r\nHost: [::1]:1\r\n", ("::1", 1, False)),
        (
            "http://h/é%20?q=ü#f",
            "POST /%C3%A9%20?q=%C3%BC HTTP/1.1\r\nHost: h\r\n",
            None,
        ),
        ("http://bücher.de/", "POST / HTTP/1.1\r\nHost: xn--bcher-kva.de\r\n", None),
    ],
)
def test_an_address_is_taken_apart(url: str, head: str, origin: object) -> None:
    parsed = address.parse_address(url)
    assert parsed.head == head
    assert origin in (None, tuple(parsed.origin))


@pytest.mark.parametrize(
    "url",
    ["", "h", "ftp://h", "http://", "http://h:x/", "http://h:99999/", "http://h/ a"],
)
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(AddressError):
        address.parse_address(url)


def test_a_name_and_a_password_in_an_address_are_a_header() -> None:
    parsed = address.parse_address("http://me:s%40cret@h/")
    sent = address.encode_request(parsed, request(""))
    assert b"\r\nAuthorization: Basic bWU6c0BjcmV0\r\n" in sent
    assert b"me:" not in sent
    sent = address.encode_request(parsed, request("", Authorization="Bearer k"))
    assert b"Basic" not in sent


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\0"])
def test_a_header_cannot_be_broken(value: str) -> None:
    with pytest.raises(ValueError, match="header X"):
        address.encode_request(address.parse_address("http://h"), request("", X=value))
