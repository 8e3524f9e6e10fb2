"""The reader of server-sent events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmchat.providers.errors import ProviderError
from llmchat.providers.sse import MAX_STRAY_BYTES, ServerSentEvent, SSEReader


def read(body: bytes, *sizes: int) -> tuple[list[ServerSentEvent], bytes]:
    """Read `body` in pieces of these sizes, in turn; in one piece if there are none."""
    reader = SSEReader()
    events = []
    start, turn = 0, 0
    while start < len(body):
        size = sizes[turn % len(sizes)] if sizes else len(body)
        events += reader.receive_bytes(body[start : start + size])
        start, turn = start + size, turn + 1
    return events + reader.receive_end(), reader.stray


def data_of(body: bytes) -> list[bytes]:
    return [data for _, data in read(body)[0]]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_a_line_ends_with_lf_crlf_or_cr(newline: bytes) -> None:
    body = newline.join([b"event: a", b"data: 1", b"", b"data: 2", b"", b""])
    assert read(body)[0] == [(b"a", b"1"), (b"", b"2")]


def test_line_endings_may_be_mixed() -> None:
    assert data_of(b"data: 1\r\n\ndata: 2\r\r\ndata: 3\n\r") == [b"1", b"2", b"3"]


def test_a_crlf_cut_between_two_reads_counts_once() -> None:
    reader = SSEReader()
    assert reader.receive_bytes(b"data: 1\r") == []
    assert reader.receive_bytes(b"\ndata: 2\r") == []
    assert reader.receive_bytes(b"\n\r\n") == [(b"", b"1\n2")]


def test_unicode_line_separators_do_not_end_a_line() -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei".encode()
    assert data_of(b"data: " + text + b"\n\n") == [text]


def test_only_one_leading_bom_is_removed() -> None:
    bom = b"\xef\xbb\xbf"
    body = bom + b"data: 1\n\n" + bom + b"data: 2\n\n"
    events, stray = read(body)
    assert events == [(b"", b"1")]
    assert stray == bom + b"data: 2"


def test_one_space_after_the_colon_is_dropped() -> None:
    assert data_of(b"data:1\n\ndata: 2\n\ndata:  3\n\n") == [b"1", b"2", b" 3"]


def test_data_lines_of_one_event_are_joined() -> None:
    assert data_of(b"data: 1\ndata\ndata: 3\n\n") == [b"1\n\n3"]


def test_comments_ids_and_retries_say_nothing() -> None:
    assert read(b": hi\nid: 1\nretry: 5\n:\n\ndata: 1\n\n") == ([(b"", b"1")], b"")


def test_an_event_without_data_is_not_dispatched_and_its_name_forgotten() -> None:
    assert read(b"event: ping\n\ndata: 1\n\n")[0] == [(b"", b"1")]


def test_the_end_flushes_an_event_without_its_blank_line() -> None:
    assert data_of(b"data: 1\n\ndata: [DONE]") == [b"1", b"[DONE]"]


def test_lines_that_are_no_fields_are_kept() -> None:
    body = b'data: 1\r\n\r\n{\r\n  "error": {"code": 503}\r\n}\r\n'
    assert read(body) == ([(b"", b"1")], b'{\n  "error": {"code": 503}\n}')


def test_stray_lines_are_bounded() -> None:
    stray = read(b"x" * MAX_STRAY_BYTES + b"\n" + b"y" * 100 + b"\n")[1]
    assert len(stray) <= MAX_STRAY_BYTES


def test_a_line_may_be_large() -> None:
    value = b"x" * 300_000
    assert read(b"data: " + value + b"\n\n", 1000)[0] == [(b"", value)]


def test_a_line_larger_than_the_limit_is_an_error() -> None:
    reader = SSEReader(max_event_bytes=100)
    reader.receive_bytes(b"data: " + b"x" * 90)
    with pytest.raises(ProviderError):
        reader.receive_bytes(b"x" * 10)


def test_an_event_larger_than_the_limit_is_an_error() -> None:
    reader = SSEReader(max_event_bytes=100)
    with pytest.raises(ProviderError):
        reader.receive_bytes(b"data: 123456\n" * 10)


def test_the_limit_counts_a_line_once_however_it_was_cut() -> None:
    reader = SSEReader(max_event_bytes=100)
    events = []
    for byte in b"data: " + b"x" * 80 + b"\n\n":
        events += reader.receive_bytes(bytes([byte]))
    assert len(events) == 1


def test_the_limit_is_for_one_event_not_for_the_stream() -> None:
    reader = SSEReader(max_event_bytes=100)
    assert len(reader.receive_bytes(b"data: 1\n\n: comment\n\n" * 1000)) == 1000


LINES = st.sampled_from(
    [
        b"",
        b"data: 1",
        b"data:2",
        b"data",
        b"event: e",
        b": c",
        b"{",
        b"id: 1",
        b"error: x",
        b"a b",
    ]
)
NEWLINES = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(
    lines=st.lists(st.tuples(LINES, NEWLINES), max_size=12),
    bom=st.booleans(),
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=4),
)
def test_how_a_body_is_cut_makes_no_difference(
    lines: list[tuple[bytes, bytes]], bom: bool, sizes: list[int]
) -> None:
    body = b"\xef\xbb\xbf" * bom + b"".join(line + end for line, end in lines)
    assert read(body, *sizes) == read(body)


@given(body=st.binary(max_size=200), sizes=st.lists(st.integers(1, 9), min_size=1))
def test_garbage_does_not_break_the_reader(body: bytes, sizes: list[int]) -> None:
    assert read(body, *sizes) == read(body)
