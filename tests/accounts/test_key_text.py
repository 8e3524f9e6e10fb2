"""The text of an API key: how a key is recognized, and found in other texts."""

from __future__ import annotations

import re

import pytest

from accounts.key_text import (
    PREFIX_LENGTH,
    digest_of,
    is_key,
    is_whole,
    new_key,
    prefix_of,
    prefixes_in,
)


def test_keys_differ_and_have_one_shape() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        assert re.fullmatch(r"llmc_[0-9A-Za-z]{49}", key)
        assert is_key(key)
        assert is_whole(key)
        assert len(digest_of(key)) == 64


@pytest.mark.parametrize("place", [5, 20, 47, 48, 53])
def test_a_mistyped_letter_is_found(place: int) -> None:
    key = new_key()
    other = "a" if key[place] != "a" else "b"
    assert not is_whole(key[:place] + other + key[place + 1 :])


@pytest.mark.parametrize("raw", [None, "", 5, "llmc", "eyJhbGciOi.x.y", ["llmc_"]])
def test_what_does_not_begin_so_is_no_key(raw: object) -> None:
    assert not is_key(raw)


def test_keys_are_found_in_a_line_of_a_log_and_in_a_commit() -> None:
    first, second = new_key(), new_key()
    text = f'+TOKEN="{first}"\n GET /llm Authorization: Bearer {second[:30]}… 200'
    assert prefixes_in(text) == [prefix_of(first), prefix_of(second)]
    assert prefixes_in("llmc is no key") == []
    assert len(prefix_of(first)) == PREFIX_LENGTH
