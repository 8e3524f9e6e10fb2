"""What the search for leaks reads from a process."""

from __future__ import annotations

import pytest

from benchmarks import leaks
from llmchat import metrics


def test_everything_that_is_looked_for_is_a_metric_of_the_product() -> None:
    found = leaks.read_metrics(metrics.exposition(with_pid=False).decode())

    assert list(found) == [
        "tasks",
        "provider connections in use",
        "streams",
        "absent sockets",
    ]


def test_a_figure_is_what_its_metric_says() -> None:
    text = "".join(f"{name} {at}\n" for at, name in enumerate(leaks._COUNTED))

    assert list(leaks.read_metrics(text).values()) == [0.0, 1.0, 2.0, 3.0]


def test_a_missing_metric_is_no_figure() -> None:
    with pytest.raises(KeyError, match="llmchat_asyncio_tasks"):
        leaks.read_metrics("llmchat_streams_running 1\n")
