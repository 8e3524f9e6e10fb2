"""Text without lone surrogates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmchat.providers.text import SurrogateJoiner, decode_json, well_formed

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)


@given(ANY_TEXT)
def test_well_formed_text_can_be_encoded(text: str) -> None:
    well_formed(text).encode()


@given(st.text())
def test_text_without_surrogates_is_left_alone(text: str) -> None:
    assert well_formed(text) == text


@given(ANY_TEXT, st.integers(0, 20))
def test_a_cut_makes_no_difference_to_what_is_joined(text: str, cut: int) -> None:
    joiner = SurrogateJoiner()
    joined = joiner.join(text[:cut]) + joiner.join(text[cut:]) + joiner.end()
    assert joined == well_formed(text)


def test_json_with_half_a_pair_is_decoded() -> None:
    assert decode_json(rb'"a\ud83d"') == "a\ud83d"


def test_json_with_bytes_that_are_not_utf8_is_decoded() -> None:
    assert decode_json(b'"a\xff"') == "a\ufffd"


@pytest.mark.parametrize("data", [b"", b"{", b"nonsense", b"[" * 100_000])
def test_what_is_no_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_json(data)
