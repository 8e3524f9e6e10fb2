"""What the server adds to answers is counted in buckets, and logged when it stops."""

from __future__ import annotations

import logging

import pytest

from llmchat.overhead import BUCKETS_S, Histogram, Overhead


def test_a_value_on_a_bound_belongs_to_its_bucket() -> None:
    histogram = Histogram()
    for value_s in (0.0, 0.0005, 0.00051, 0.001, 5.0, 5.1, -1.0):
        histogram.add(value_s)

    counts = dict(histogram.cumulative())
    assert counts[0.0005] == 3
    assert counts[0.001] == 5
    assert counts[2.0] == 5
    assert counts[5.0] == 6
    assert counts[float("inf")] == histogram.count == 7
    assert histogram.sum_s == pytest.approx(10.10201)
    assert sorted(BUCKETS_S) == list(BUCKETS_S)


def test_a_quantile_is_the_bound_of_its_bucket() -> None:
    histogram = Histogram()
    for _ in range(99):
        histogram.add(0.0015)
    histogram.add(9.0)

    assert histogram.quantile(0.5) == 0.002
    assert histogram.quantile(0.99) == 0.002
    assert histogram.quantile(1.0) == float("inf")


def test_a_line_tells_of_all_answers(caplog: pytest.LogCaptureFixture) -> None:
    overhead = Overhead()
    caplog.set_level(logging.INFO, "llmchat.overhead")
    overhead.log()
    assert caplog.messages == []

    overhead.note(first_s=0.0011, whole_s=0.004)
    overhead.note(first_s=None, whole_s=7.0)
    overhead.log()

    assert caplog.messages == [
        "added to 2 answers: first token p50 ≤ 2 ms, p99 ≤ 2 ms;"
        " whole p50 ≤ 5 ms, p99 > 5000 ms"
    ]
