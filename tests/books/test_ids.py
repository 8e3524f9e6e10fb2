"""The ids of rows: of version 7, in the order of time, and unique."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from uuid import RFC_4122

from llmchat.books.ids import new_id


def _ids(count: int) -> list[str]:
    return [new_id().hex for _ in range(count)]


def test_an_id_says_when_it_was_made_and_what_it_is() -> None:
    before = time.time_ns() // 1_000_000

    ident = new_id()

    assert ident.version == 7
    assert ident.variant == RFC_4122
    assert before <= ident.int >> 80 <= time.time_ns() // 1_000_000


def test_ids_of_many_threads_differ() -> None:
    with ThreadPoolExecutor(max_workers=4) as threads:
        made = [one for some in threads.map(_ids, repeat(1_000, 8)) for one in some]

    assert len(set(made)) == len(made)
