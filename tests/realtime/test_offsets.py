"""What an offset says, and that a server can read what it has written."""

from __future__ import annotations

from llmchat.realtime.offsets import MAX_MARKS, Marks, Seen, read_offset


def test_an_offset_is_read_as_it_was_written() -> None:
    marks = Marks()
    marks.note("one", 3)
    (along,) = marks.along("two", [7])
    assert read_offset(f"12{along}") == Seen(12, {"one": 3, "two": 7})
    assert read_offset(f"13{marks}") == Seen(13, {"one": 3, "two": 7})


def test_of_more_logs_than_there_is_room_for_nothing_is_said() -> None:
    marks = Marks()
    for number in range(MAX_MARKS + 3):
        for along in marks.along(f"log{number}", [number, number + 1]):
            assert read_offset(f"1{along}") is not None
        assert read_offset(f"2{marks}") is not None
    seen = read_offset(f"3{marks.along('log99', [5])[0]}")
    assert seen is not None
    assert seen.marks == {f"log{number}": number + 1 for number in range(MAX_MARKS)}
    (along,) = marks.along("log0", [9])
    seen = read_offset(f"4{along}")
    assert seen is not None
    assert seen.marks["log0"] == 9
