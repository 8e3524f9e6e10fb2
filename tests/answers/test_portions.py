"""A large read is handed on in portions, with a look at the readers after each."""

from __future__ import annotations

import pytest

from llmchat.answers.live_stream import LiveStream
from llmchat.answers.log import MAX_BEHIND_CHARS

ENOUGH = MAX_BEHIND_CHARS // 8


@pytest.mark.parametrize("length", [1, 7, ENOUGH - 1, ENOUGH, 5_000])
async def test_portions_are_large_but_bounded(length: int) -> None:
    stream = LiveStream(1, "s-1")
    texts = [chr(97 + n % 26) * length for n in range(MAX_BEHIND_CHARS // length + 9)]

    portions = [list(portion) for portion in stream.portions(texts)]

    assert [text for portion in portions for text in portion] == texts
    sizes = [sum(map(len, portion)) for portion in portions]
    assert max(sizes) < ENOUGH + length
    assert all(size >= ENOUGH for size in sizes[:-1])


async def test_what_cannot_make_a_stream_lag_is_one_portion() -> None:
    texts = ["x" * 16] * (MAX_BEHIND_CHARS // 16)

    assert list(LiveStream(1, "s-1").portions(texts)) == [texts]
