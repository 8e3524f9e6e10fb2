"""Parsing HTTP/1.1 responses."""

from __future__ import annotations

import gzip
import zlib

import pytest

from llmchat.providers.http.head import MAX_HEAD_BYTES, MalformedResponseError
from llmchat.providers.http.parser import ResponseParser

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
# Every way to frame the same body, and whether the connection may be used again.
FRAMED = {
    "chunked": (
        CHUNKED + b"5\r\nhello\r\n1;a=b\r\n \r\n05 \r\nworld\r\n0\r\n\r\n",
        True,
    ),
    "trailers": (CHUNKED + b"B\r\nhello world\r\n0\r\nx: y\r\nz: a\r\n\r\n", True),
    "length": (OK + b"Content-Length: 11\r\n\r\nhello world", True),
    "repeated": (OK + b"Content-Length: 11\r\n" * 2 + b"\r\nhello world", True),
    "close": (
        OK + b"Content-Length: 11\r\nConnection: x, Close\r\n\r\nhello world",
        False,
    ),
    "old": (b"HTTP/1.0 200 OK\r\nContent-Length: 11\r\n\r\nhello world", False),
    "old but alive": (
        b"HTTP/1.0 200\r\nConnection: keep-alive\r\n"
        b"Content-Length: 11\r\n\r\nhello world",
        True,
    ),
    "bare LF": (OK[:-2] + b"\nContent-Length: 11\n\nhello world", True),
    "bare LF in chunks": (CHUNKED + b"b\nhello world\n0\n\n", True),
    "both": (
        OK + b"content-length: 5\r\n" + CHUNKED[17:] + b"b\r\nhello world\r\n0\r\n\r\n",
        False,
    ),
    "informational": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\nlink: x\r\n\r\n"
        + OK
        + b"Content-Length: 11\r\n\r\nhello world",
        True,
    ),
    "line before": (b"\r\n" + OK + b"Content-Length: 11\r\n\r\nhello world", True),
    "more than asked": (
        OK + b"Content-Length: 11\r\n\r\nhello worldHTTP/1.1 200",
        False,
    ),
    "more than the chunks": (CHUNKED + b"b\r\nhello world\r\n0\r\n\r\nHTTP", False),
}


def read(*pieces: bytes) -> tuple[bytes, ResponseParser]:
    parser = ResponseParser()
    return b"".join([parser.receive(piece) for piece in pieces]), parser


@pytest.mark.parametrize("case", FRAMED)
def test_a_response_cut_anywhere_says_the_same(case: str) -> None:
    raw, reusable = FRAMED[case]
    for cut in range(len(raw) + 1):
        body, parser = read(raw[:cut], raw[cut:])
        assert (body, parser.is_complete) == (b"hello world", True)
        assert bool(parser.keepalive_s) is reusable


@pytest.mark.parametrize("case", FRAMED)
def test_a_response_may_drip(case: str) -> None:
    raw, reusable = FRAMED[case]
    body, parser = read(*(raw[at : at + 1] for at in range(len(raw))))
    assert (body, parser.is_complete) == (b"hello world", True)
    assert bool(parser.keepalive_s) is reusable


@pytest.mark.parametrize("case", FRAMED)
def test_half_a_response_is_not_whole(case: str) -> None:
    raw, _ = FRAMED[case]
    end = raw.index(b"world") + 4
    for cut in range(end):
        _, parser = read(raw[:cut])
        assert not parser.receive_eof()


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    body, parser = read(OK + b"\r\n", b"hello ", b"world")
    assert (body, parser.is_complete, parser.keepalive_s) == (b"hello world", False, 0)
    assert parser.receive_eof()


@pytest.mark.parametrize("status", [b"204", b"304"])
def test_a_response_may_have_no_body(status: bytes) -> None:
    _, parser = read(b"HTTP/1.1 " + status + b" X\r\n\r\n")
    assert parser.is_complete
    assert parser.keepalive_s


def test_headers_are_lower_case_joined_and_folded() -> None:
    raw = b"A-B:  x \r\na-b: y\r\nfolded: one\r\n  two\r\nempty:\r\n"
    end = b"Content-Length: 0\r\n\r\n"
    _, parser = read(b"HTTP/1.1 503 Slow down\r\n" + raw + end)
    assert parser.head is not None
    assert parser.head.status == 503
    assert parser.head.headers == {
        "a-b": "x, y",
        "folded": "one two",
        "empty": "",
        "content-length": "0",
    }


@pytest.mark.parametrize(
    ("told", "seconds"), [("timeout=5, max=9", 4), ("timeout=999", 30), ("max=1", 30)]
)
def test_a_server_says_how_long_it_keeps_a_connection(told: str, seconds: int) -> None:
    told_header = f"Keep-Alive: {told}\r\nContent-Length: 0\r\n\r\n".encode()
    _, parser = read(OK + told_header)
    assert parser.keepalive_s == seconds


MALFORMED = {
    "another protocol": b"SSH-2.0-OpenSSH\r\n\r\n",
    "HTTP/2": b"HTTP/2 200\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "long status": b"HTTP/1.1 2000 OK\r\n\r\n",
    "upgrade": b"HTTP/1.1 101 Switching\r\n\r\n",
    "no colon": OK + b"nonsense\r\n\r\n",
    "blank in a name": OK + b"a b: c\r\n\r\n",
    "no name": OK + b": c\r\n\r\n",
    "folded first": OK + b" c: d\r\n\r\n",
    "two lengths": OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\n",
    "negative length": OK + b"content-length: -1\r\n\r\n",
    "length of no digits": OK + "content-length: ²\r\n\r\n".encode("latin-1"),
    "empty length": OK + b"content-length:\r\n\r\n",
    "unknown coding": OK + b"transfer-encoding: gzip, chunked\r\n\r\n",
    "unknown compression": OK + b"content-encoding: br\r\ncontent-length: 1\r\n\r\n",
    "bad compression": OK
    + b"content-encoding: gzip\r\ncontent-length: 9\r\n\r\n123456789",
    "no size": CHUNKED + b"\r\n",
    "size of no digits": CHUNKED + b"x\r\n",
    "negative size": CHUNKED + b"-1\r\n",
    "huge size": CHUNKED + b"f" * 16 + b"\r\n",
    "long chunk": CHUNKED + b"1\r\nab\r\n",
    "endless size": CHUNKED + b"1;" + b"x" * 5000,
    "endless trailers": CHUNKED + b"0\r\n" + b"a: b\r\n" * 200,
    "endless head": OK + b"a: b\r\n" * (MAX_HEAD_BYTES // 6),
    "endless line": OK + b"a" * (MAX_HEAD_BYTES + 1),
    "endless information": b"HTTP/1.1 100 X\r\n\r\n" * 20,
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_no_http_is_refused(case: str) -> None:
    with pytest.raises(MalformedResponseError):
        read(MALFORMED[case])
    with pytest.raises(MalformedResponseError):
        read(*(MALFORMED[case][at : at + 1] for at in range(len(MALFORMED[case]))))


def compressed(body: bytes, coding: str) -> bytes:
    head = (
        OK
        + f"content-encoding: {coding}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    )
    return head + body


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_body_compressed_unasked_is_read(coding: str) -> None:
    text = b"data: hello\n\n" * 100
    packed = gzip.compress(text) if coding == "gzip" else zlib.compress(text)
    raw = compressed(packed, coding)
    for cut in range(0, len(raw), 7):
        assert read(raw[:cut], raw[cut:])[0] == text


def test_a_body_that_swells_is_refused() -> None:
    with pytest.raises(MalformedResponseError, match="limit"):
        read(compressed(gzip.compress(bytes(100 * 1024 * 1024)), "gzip"))
