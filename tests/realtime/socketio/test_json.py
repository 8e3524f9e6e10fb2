"""JSON from untrusted peers, and for browsers."""

from __future__ import annotations

import json
import math
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmchat.realtime.socketio.errors import PacketError
from llmchat.realtime.socketio.strict_json import MAX_DEPTH, decode_json, encode_json


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "[NaN]",
        '{"a":Infinity}',
        "[1,]",
        '{"a":1,}',
        "{'a':1}",
        "[1] [2]",
        "// x\n1",
        '"raw \n newline"',
        '"raw \x1e separator"',
        "01",
        "+1",
        ".5",
        "1.",
        "\ufeff1",
        "\u0661",
        "²",
        "undefined",
        "",
        " ",
        "9" * 5000,
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 100_000,
        "[{" * 50_000,
    ],
    ids=lambda text: text[:12],
)
def test_what_is_not_strict_json_is_refused(text: str) -> None:
    with pytest.raises(PacketError):
        decode_json(text)


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def test_nesting_has_a_limit() -> None:
    decode_json(nested(MAX_DEPTH))
    decode_json('{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH)
    for text in (nested(MAX_DEPTH + 1), "[" + nested(MAX_DEPTH) + "]"):
        with pytest.raises(PacketError, match="illegal JSON") as caught:
            decode_json(text)
        assert str(caught.value.__cause__) == "nested too deeply"


def test_brackets_side_by_side_or_in_strings_are_not_nesting() -> None:
    wide = "[" + ",".join(["[]"] * 5000) + "]"
    quoted = json.dumps(["[{" * 5000, '\\"[' * 5000, "\\\\"])

    assert len(decode_json(wide)) == 5000
    assert decode_json(quoted) == json.loads(quoted)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 600 + '\\"' * 300_000,
        "[" * 600 + '"' + "\\" * 300_001,
        "[" * 600 + '"a' * 300_000,
        '["' + "[" * 600_000,
    ],
    ids=["escapes", "backslashes", "quotes", "an open string"],
)
def test_the_depth_of_anything_is_found_in_no_time(text: str) -> None:
    started = time.process_time()

    with pytest.raises(PacketError):
        decode_json(text)

    assert time.process_time() - started < 2


def test_what_may_be_received_may_be_sent_back() -> None:
    """Handlers do that, deeper in the stack than a test."""
    value = decode_json("[" * (MAX_DEPTH - 1) + "1e400" + "]" * (MAX_DEPTH - 1))
    text = encode_json(["echo", value])

    assert text == '["echo",' + "[" * 511 + "null" + "]" * 511 + "]"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, "null"),
        (math.inf, "null"),
        (-math.inf, "null"),
        ({"a": [math.inf, 1.5]}, '{"a":[null,1.5]}'),
        (["NaN", "-Infinity", math.nan], '["NaN","-Infinity",null]'),
        ({'"NaN': '\\"Infinity"', "x\\": math.nan}, None),
        ("\ud83d", '"\\ud83d"'),
        (["\ude00\ud83d", "👍é"], '["\\ude00\\ud83d","👍é"]'),
        ({"\ud800": 1}, '{"\\ud800":1}'),
        ("\x1e\u2028", '"\\u001e\u2028"'),
        ((1, 2), "[1,2]"),
        ({1: 2}, '{"1":2}'),
        ([0, False, "", None], '[0,false,"",null]'),
        (1.0, "1.0"),
        (2**64, "18446744073709551616"),
    ],
)
def test_a_value_is_encoded_as_javascript_would(value: Any, text: str | None) -> None:
    encoded = encode_json(value)

    assert text is None or encoded == text
    json.loads(encoded)
    encoded.encode()


def test_a_number_too_large_becomes_null() -> None:
    assert encode_json(decode_json("[1e400,-1e400,1]")) == "[null,null,1]"


def test_half_of_a_surrogate_pair_goes_round() -> None:
    assert encode_json(decode_json('"\\ud800"')) == '"\\ud800"'
    assert encode_json(decode_json('"\\ud83d\\ude00"')) == '"😀"'


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError):
        encode_json({"a": object()})
    with pytest.raises(TypeError):
        encode_json({(1, 2): 3})


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)

    with pytest.raises(ValueError, match="Circular"):
        encode_json(value)


def test_a_value_nested_too_deeply_is_refused() -> None:
    value: list[Any] = []
    for _ in range(sys.getrecursionlimit() * 100):
        value = [value]

    with pytest.raises(ValueError, match="nested too deeply"):
        encode_json(value)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def as_javascript(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [as_javascript(item) for item in value]
    if isinstance(value, dict):
        return {key: as_javascript(item) for key, item in value.items()}
    return value


@given(values)
def test_a_value_comes_back(value: Any) -> None:
    encoded = encode_json(value)

    encoded.encode()
    assert decode_json(encoded) == as_javascript(value)


@given(st.text('[]{}",:\\ 01eNaI-\n'))
def test_any_text_is_json_or_an_error(text: str) -> None:
    try:
        value = decode_json(text)
    except PacketError:
        return
    assert json.loads(text) == value


@given(st.text('[]{}"\\x', max_size=30))
def test_whatever_follows_brackets_without_end_is_refused(text: str) -> None:
    with pytest.raises(PacketError):
        decode_json("[" * 600 + text)
