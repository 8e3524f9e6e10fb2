"""Bytes within JSON."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmchat.realtime.socketio.binary import encode_data, put_back
from llmchat.realtime.socketio.errors import PacketError
from llmchat.realtime.socketio.strict_json import decode_json


def placeholder(num: Any) -> dict[str, Any]:
    return {"_placeholder": True, "num": num}


def test_bytes_are_taken_out_in_document_order() -> None:
    text, attachments = encode_data(["x", b"1", {"b": [b"2", 0], "a": b"3"}, b""])

    assert text == (
        '["x",{"_placeholder":true,"num":0},'
        '{"b":[{"_placeholder":true,"num":1},0],"a":{"_placeholder":true,"num":2}},'
        '{"_placeholder":true,"num":3}]'
    )
    assert attachments == [b"1", b"2", b"3", b""]


@pytest.mark.parametrize("data", [b"ab", bytearray(b"ab"), memoryview(b"ab")])
def test_all_kinds_of_bytes_are_binary(data: object) -> None:
    attachments = encode_data([data])[1]

    assert attachments == [b"ab"]
    assert type(attachments[0]) is bytes


def test_a_view_of_every_other_byte_is_taken_as_it_reads() -> None:
    assert encode_data([memoryview(b"a.b.c.")[::2]])[1] == [b"abc"]


def test_data_without_bytes_has_no_attachments() -> None:
    assert encode_data(["x", placeholder(0)]) == (
        '["x",{"_placeholder":true,"num":0}]',
        [],
    )


def test_bytes_beside_a_number_that_is_not_finite_are_counted_once() -> None:
    assert encode_data([b"1", math.nan, b"2", "\ud800"]) == (
        '[{"_placeholder":true,"num":0},null,{"_placeholder":true,"num":1},"\\ud800"]',
        [b"1", b"2"],
    )


def test_what_has_no_form_is_refused_beside_bytes_too() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        encode_data([b"1", object()])


def test_bytes_are_put_back() -> None:
    data = ["x", placeholder(0), {"b": [placeholder(1), 0], "a": None}]

    put_back(data, [b"1", b"2"])

    assert data == ["x", b"1", {"b": [b"2", 0], "a": None}]


def test_a_number_may_repeat_and_come_out_of_order() -> None:
    data: list[Any] = [placeholder(1), placeholder(0), placeholder(1)]

    put_back(data, [b"0", b"1"])

    assert data == [b"1", b"0", b"1"]


@pytest.mark.parametrize(
    "num", [None, "0", 0.0, True, False, -1, 2, 10**30, [0], {"num": 0}]
)
def test_a_placeholder_needs_the_number_of_an_attachment(num: Any) -> None:
    with pytest.raises(PacketError):
        put_back([placeholder(num)], [b"0", b"1"])


def test_a_placeholder_without_a_number_is_refused() -> None:
    with pytest.raises(PacketError):
        put_back([{"_placeholder": True}], [b"0"])


@pytest.mark.parametrize("mark", [1, "true", None, False, [True]])
def test_a_placeholder_is_marked_by_true_and_nothing_else(mark: Any) -> None:
    data = [{"_placeholder": mark, "num": 0}]
    before = copy.deepcopy(data)

    put_back(data, [b"0"])

    assert data == before


def test_depth_is_no_obstacle() -> None:
    data = decode_json("[" * 511 + '{"_placeholder":true,"num":0}' + "]" * 511)

    put_back(data, [b"0"])

    for _ in range(511):
        (data,) = data
    assert data == b"0"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=15,
)


@given(st.lists(values, max_size=5))
def test_data_comes_back(data: list[Any]) -> None:
    text, attachments = encode_data(data)
    decoded = decode_json(text)
    put_back(decoded, attachments)

    assert decoded == data
