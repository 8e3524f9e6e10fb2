"""How a request is read: its query as the standard library does it, and its headers."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmchat.realtime.request import Request, read_query, read_request

PARTS = ["sid", "transport", "polling", "a", "=", "==", "&", "&&", ";", "#", "?", " "]
ESCAPED = ["+", "%", "%26", "%3D", "%2B", "%C3%A9", "%E9", "%0D%0A", "%zz", "%u0041"]
ODD = [
    "\r",
    "\n",
    "\r\n",
    "\t",
    "\x00",
    "\x0b",
    "\x1c",
    "\x85",
    "\xa0",
    "\xe9",
    "\ufffd",
]


def parsed(query: str) -> dict[str, str]:
    return dict(parse_qsl(query, keep_blank_values=True))


@pytest.mark.parametrize(
    "query",
    [
        "",
        "&",
        "=",
        "&&=&=&",
        "sid",
        "sid=",
        "sid=a&sid=b",
        "sid=a&sid",
        "sid=a=b==c",
        "EIO=4&transport=polling&sid=a\r\nhost: evil",
        "a;b=c;d",
        "?sid=a",
        "sid=a#b",
        " sid = a ",
        "\ufeffsid=a",
    ],
)
def test_a_query_is_read_as_the_standard_library_reads_it(query: str) -> None:
    assert read_query(query) == parsed(query)


@given(
    st.one_of(
        st.text(),
        st.lists(st.sampled_from(PARTS + ODD)).map("".join),
        st.lists(st.sampled_from(PARTS + ODD + ESCAPED)).map("".join),
        st.binary().map(lambda query: query.decode("latin-1")),
    )
)
def test_any_query_is_read_as_the_standard_library_reads_it(query: str) -> None:
    found, expected = read_query(query), parsed(query)

    assert list(found.items()) == list(expected.items())


def read(query: bytes = b"", *headers: tuple[bytes, bytes], **scope: Any) -> Request:
    asked = {"type": "http", "path": "/socket.io/", "query_string": query}
    return read_request({**asked, "headers": list(headers), **scope})


def test_a_query_is_shown_escaped_in_the_address_and_plain_in_its_parameters() -> None:
    shake = read(b"a=%C3%A9+b&a=2&c").handshake

    assert shake.query == {"a": "2", "c": ""}
    assert shake.url == "/socket.io/?a=%C3%A9+b&a=2&c"


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"host", b"Host", b"HOST", b"origin", b"cookie", b"x"]),
            st.binary(max_size=5),
        )
    )
)
def test_headers_of_one_name_are_one_however_they_are_spelled(
    headers: list[tuple[bytes, bytes]],
) -> None:
    expected: dict[str, list[str]] = {}
    for name, value in headers:
        key = name.decode("latin-1").lower()
        expected.setdefault(key, []).append(value.decode("latin-1"))

    found = read(b"", *headers).handshake.headers

    assert found == {name: ", ".join(values) for name, values in expected.items()}
