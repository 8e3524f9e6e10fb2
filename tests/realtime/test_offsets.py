"""What an offset says, and that a server can read what it has written."""

from __future__ import annotations

import pytest

from llmchat.realtime.offsets import MAX_MARKS, Marks, Seen, read_offset


def test_an_offset_is_read_as_it_was_written() -> None:
    marks = Marks()
    marks.note("one", 3)
    (along,) = marks.along("two", [7])
    assert read_offset(f"12{along}") == Seen(12, {"one": 3, "two": 7})
    assert read_offset(f"13{marks}") == Seen(13, {"one": 3, "two": 7})


def test_of_more_logs_than_there_is_room_for_that_is_said_and_no_more() -> None:
    marks = Marks()
    for number in range(MAX_MARKS):
        marks.note(f"log{number}", number)
    seen = read_offset(f"1{marks}")
    assert seen == Seen(1, {f"log{number}": number for number in range(MAX_MARKS)})

    for along in marks.along("one more", [3, 4]):
        assert read_offset(f"2{along}") == Seen(2, None)
    assert read_offset(f"3{marks}") == Seen(3, None)
    for along in marks.along("log0", [9]):
        assert read_offset(f"4{along}") == Seen(4, None)
    elsewhere = Marks(marks.hand_over())
    assert read_offset(f"5{elsewhere}") == Seen(5, None)

    elsewhere.forget("log1")
    (along,) = elsewhere.along("one", [5])
    assert read_offset(f"6{along}") == Seen(6, None)
    elsewhere.forget("log2")
    elsewhere.forget("one more")
    seen = read_offset(f"7{elsewhere}")
    assert seen is not None
    assert seen.marks == {"log0": 9, "one": 5} | {f"log{n}": n for n in range(3, 8)}


@pytest.mark.parametrize("text", ["1.+.+", "1.+.a:1", "1.a:1.+", "+", "1+", ""])
def test_what_is_no_offset(text: str) -> None:
    assert read_offset(text) is None
