"""What this process counts of itself, for Prometheus.

Answers are counted when they have ended, never a token at a time. What is running is
counted when Prometheus asks. Every label has few values: provider names after the first
fifty are `other`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from llmchat import overhead

MOST_PROVIDERS = 50
OTHER = "other"
_FIRST_TOKEN_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0)

# Nothing uses the creation times, and they would double the number of series.
disable_created_metrics()  # type: ignore[no-untyped-call]
registry = CollectorRegistry(auto_describe=False)

_ended = Counter(
    "llmchat_streams_ended",
    "Answers that have ended, by final state and by provider.",
    ("state", "provider"),
    registry=registry,
)
_refused = Counter(
    "llmchat_turns_refused",
    "Turns that were refused before a request to their provider.",
    ("code",),
    registry=registry,
)
_tokens = Counter(
    "llmchat_output_tokens",
    "Tokens of ended answers, as their provider counts them.",
    ("provider",),
    registry=registry,
)
_first_token = Histogram(
    "llmchat_first_token_seconds",
    "Time from a turn's arrival to the first text of its answer.",
    ("provider",),
    buckets=_FIRST_TOKEN_S,
    registry=registry,
)
_failures = Counter(
    "llmchat_provider_errors",
    "Failures of providers, including those that a fallback answered.",
    ("provider", "code"),
    registry=registry,
)
_limited = Counter(
    "llmchat_rate_limited",
    "Messages that exceeded the rate limit of their user.",
    registry=registry,
)

_names: set[str] = set()


def provider_label(name: str) -> str:
    """Return the label of a provider: its name, unless there are too many."""
    if name not in _names:
        if len(_names) >= MOST_PROVIDERS:
            return OTHER
        _names.add(name)
    return name


def note_ended(
    state: str, provider: str, *, tokens: int, first_token_s: float | None
) -> None:
    """Count an answer that has ended; `first_token_s` is None if it has no text."""
    label = provider_label(provider)
    _ended.labels(state, label).inc()
    _tokens.labels(label).inc(tokens)
    if first_token_s is not None:
        _first_token.labels(label).observe(first_token_s)


def note_refused(code: str) -> None:
    """Count a turn that was refused before it began."""
    _refused.labels(code).inc()


def note_failure(provider: str, code: str) -> None:
    """Count a failure of a provider."""
    _failures.labels(provider_label(provider), code).inc()


def note_rate_limited() -> None:
    """Count a message above the limit."""
    _limited.inc()


# What is counted only when Prometheus asks.


class Gauges(Collector):
    """What is running in the process now, counted by functions that others set."""

    def __init__(self) -> None:
        self.streams: Callable[[], int] = lambda: 0
        self.sockets: Callable[[], Mapping[str, int]] = dict
        # How many, and the bytes that are kept for them.
        self.absent: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self.relayed: Callable[[], int] = lambda: 0
        # None: not known.
        self.connections: Callable[[], int | None] = lambda: 0
        self.tasks: Callable[[], int] = lambda: 0
        self.followed: Callable[[], int] = lambda: 0

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; called by Prometheus' library."""
        text = "Answers that are being written."
        yield GaugeMetricFamily("llmchat_streams_running", text, self.streams())
        text = "Connected Socket.IO clients, by transport."
        family = GaugeMetricFamily("llmchat_sockets", text, labels=("transport",))
        for transport, count in self.sockets().items():
            family.add_metric((transport,), count)
        yield family
        sockets, size = self.absent()
        text = "Sockets that wait for their client's return."
        yield GaugeMetricFamily("llmchat_sockets_absent", text, sockets)
        text = "Bytes kept for these clients: what they have missed."
        yield GaugeMetricFamily("llmchat_sockets_absent_bytes", text, size)
        text = "Sessions of this worker that poll through other workers."
        yield GaugeMetricFamily("llmchat_sessions_relayed", text, self.relayed())
        text = "Answers of other workers that clients of this one follow."
        yield GaugeMetricFamily("llmchat_streams_followed", text, self.followed())
        if (connections := self.connections()) is not None:
            text = "Connections to providers that a request holds."
            name = "llmchat_provider_connections_in_use"
            yield GaugeMetricFamily(name, text, connections)
        text = "Tasks of asyncio that have not ended."
        yield GaugeMetricFamily("llmchat_asyncio_tasks", text, self.tasks())


class Overhead(Collector):
    """The histograms of `llmchat.overhead`."""

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; called by Prometheus' library."""
        counted = overhead.overhead
        yield _family(
            "llmchat_overhead_first_token_seconds",
            "Time that the server itself adds before the first text.",
            counted.first,
        )
        yield _family(
            "llmchat_overhead_answer_seconds",
            "Time that the server itself adds before the stored end.",
            counted.whole,
        )


def _family(name: str, text: str, counted: overhead.Histogram) -> Metric:
    bounds = [(_bound(bound), count) for bound, count in counted.cumulative()]
    return HistogramMetricFamily(name, text, buckets=bounds, sum_value=counted.sum_s)


def _bound(bound: float) -> str:
    return "+Inf" if bound == float("inf") else str(bound)


gauges = Gauges()
registry.register(gauges)
registry.register(Overhead())


class _OfThisProcess(CollectorRegistry):
    """The metrics of `registry`, each labeled with the id of this process."""

    def collect(self) -> Iterator[Metric]:
        pid = str(os.getpid())
        for family in registry.collect():
            family.samples = [
                sample._replace(labels={**sample.labels, "pid": pid})
                for sample in family.samples
            ]
            yield family


def exposition(*, with_pid: bool) -> bytes:
    """Return everything in Prometheus' text format.

    Processes that share a port need `with_pid`, as each reports only itself.
    """
    return generate_latest(_OfThisProcess() if with_pid else registry)
