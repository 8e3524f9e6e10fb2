"""The figures of the dashboard as CSV, for the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from llmchat.reports.exports import csv_line
from llmchat.reports.usage import Total, UsageReport

_HEAD = (
    *("from", "to", "figure", "name", "user", "answers", "input_tokens"),
    *("output_tokens", "cost_usd", "without_known_cost", "failed"),
    *("interrupted", "cut_off_length", "deleted"),
)


def lines(report: UsageReport, *, with_titles: bool) -> Iterator[str]:
    """Yield the lines: the total, the days, and what each table of the page shows.

    Not every operator who may see the usage may see the titles of conversations.
    """
    first, last = report.days[0], report.last_day
    yield "\ufeff" + csv_line(_HEAD)
    yield _line(first, last, "total", report.total)
    for day in report.days:
        for total in report.by_day[day].values():
            yield _line(day, day, "provider", total)
    for figure, totals in (
        ("provider", report.by_provider),
        ("model", report.by_model),
        ("top user", report.by_user),
        ("top conversation", report.by_conversation if with_titles else ()),
    ):
        for total in totals:
            yield _line(first, last, figure, total)


def _line(first: object, last: object, figure: str, total: Total) -> str:
    # For users and conversations, answers are not counted by how they ended.
    is_counted = not figure.startswith("top ")
    ends = (
        (total.failures, total.interrupted, total.cut_off) if is_counted else ("",) * 3
    )
    return csv_line(
        (
            *(first, last, figure, total.name, total.detail),
            *(total.answers, total.input_tokens, total.output_tokens),
            _exact(total.cost),
            total.unpriced,
            *ends,
            total.deleted.answers,
        )
    )


def _exact(cost: Decimal | None) -> str:
    """Return all the digits of a cost, "" if none is known."""
    return "" if cost is None else f"{cost:f}"
