"""The time that the server itself has added to answers, as histograms for operators.

An answer takes the time of its provider, and that of the server's work before and
after. Only the latter is counted here, for every answer of this process. The work on
the text in between is not: reading the clock for each piece would cost more.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

logger = logging.getLogger(__name__)

# Upper bounds in seconds; values above the last one have a bucket of their own.
BUCKETS_S = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
)


class Histogram:
    """How often values fell into each of the fixed buckets."""

    __slots__ = ("_counts", "sum_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    @property
    def count(self) -> int:
        """Return how many values there are."""
        return sum(self._counts)

    def add(self, value_s: float) -> None:
        """Count a value; a negative one, after a clock stepped back, counts as zero."""
        value_s = max(0.0, value_s)
        self._counts[bisect_left(BUCKETS_S, value_s)] += 1
        self.sum_s += value_s

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Yield each bucket's upper bound and how many values are not above it."""
        yield from zip(
            (*BUCKETS_S, float("inf")), accumulate(self._counts), strict=True
        )

    def quantile(self, share: float) -> float:
        """Return the upper bound of the bucket that a quantile of the values is in."""
        wanted = share * self.count
        return next(bound for bound, count in self.cumulative() if count >= wanted)


class Stopwatch:
    """Measures the time for which the server, not the provider, works on an answer."""

    __slots__ = ("_since", "spent_s")

    def __init__(self) -> None:
        """Start the stopwatch."""
        self.spent_s = 0.0
        self._since = time.monotonic()

    def stop(self) -> None:
        """Stop; called when the server begins to wait."""
        self.spent_s += time.monotonic() - self._since

    def go_on(self) -> None:
        """Run again; called when the server has waited."""
        self._since = time.monotonic()


class Overhead:
    """What the server has added to the first tokens, and to the whole answers."""

    def __init__(self) -> None:
        self.first = Histogram()
        self.whole = Histogram()

    def note(self, *, first_s: float | None, whole_s: float) -> None:
        """Count an answer that has ended; neither time includes waits for its provider.

        `first_s` is measured from the request until the readers have the first text,
        None if there was no text; `whole_s` until they have the end.
        """
        self.whole.add(whole_s)
        if first_s is not None:
            self.first.add(first_s)

    def log(self) -> None:
        """Log the summary, if any; called when the server stops."""
        if text := self.summary():
            logger.info("%s", text)

    def summary(self) -> str:
        """Return a line for the log, "" if nothing has been counted."""
        if not self.whole.count:
            return ""
        parts = (("first token", self.first), ("whole", self.whole))
        texts = (_text(name, histogram) for name, histogram in parts if histogram.count)
        return f"added to {self.whole.count} answers: {'; '.join(texts)}"


def _text(name: str, histogram: Histogram) -> str:
    bounds = (_bound(histogram.quantile(share)) for share in (0.5, 0.99))
    return f"{name} p50 {next(bounds)}, p99 {next(bounds)}"


def _bound(value_s: float) -> str:
    if value_s > BUCKETS_S[-1]:
        return f"> {BUCKETS_S[-1] * 1000:g} ms"
    return f"≤ {value_s * 1000:g} ms"


overhead = Overhead()
