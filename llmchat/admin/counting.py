"""The number of answers in the lists that the front page's figures link to."""

from __future__ import annotations

from datetime import date

from django.http import QueryDict
from django.utils.dateparse import parse_date

from llmchat.reports import day_totals
from llmchat.reports.links import ENDED
from llmchat.reports.outcomes import Outcome, outcome_of

_DAYS = ("created_at_from", "created_at_to")
_OF_GROUPS = ("provider", "model")
_UNPRICED = "cost__isnull"
# Parameters that do not choose rows: the page, and the order of the columns.
_OTHER = ("p", "o")
_KNOWN = {"outcome", *_DAYS, *_OF_GROUPS, _UNPRICED, *_OTHER}
_ENDS = {ENDED, *Outcome.values} - {Outcome.STREAMING.value}


def known_count(query: QueryDict) -> int | None:
    """Return how many messages a list has, None if they have to be counted.

    The totals of days know it for the answers of whole days that have ended: by
    outcome, provider and model, and for those that are not priced. They do not know
    it for other filters.
    """
    wanted = {name: str(value) for name, value in query.items()}
    is_known = _KNOWN.issuperset(wanted) and all(
        len(values) == 1 for _, values in query.lists()
    )
    outcome = wanted.get("outcome")
    if not is_known or outcome not in _ENDS or wanted.get(_UNPRICED, "True") != "True":
        return None
    first, last = (_day(wanted.get(name, "")) for name in _DAYS)
    if not first or not last or last < first:
        return None
    filters = {name: wanted[name] for name in _OF_GROUPS if name in wanted}
    if not filters.get("provider"):  # all providers
        filters.pop("provider", None)
    if any("\0" in value for value in filters.values()):
        return None
    ends = day_totals.by_end(first, last, filters)
    if ends is None:
        return None
    return sum(
        unpriced if _UNPRICED in wanted else answers
        for state, reason, answers, unpriced in ends
        if outcome in (ENDED, outcome_of(state, reason).value)
    )


def _day(text: str) -> date | None:
    try:
        return parse_date(text)
    except ValueError:
        return None
