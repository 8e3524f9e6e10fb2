"""The status of providers and keys, in the words and colors of the admin."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from llmchat.access.problems import problem
from llmchat.access.status import Source, State, Status, status_of
from llmchat.models import Provider, ProviderKey

# Colors of the labels.
COLOURS = {
    State.READY: "success",
    State.DISABLED: "default",
    State.NO_ADDRESS: "warning",
    State.NO_KEY: "warning",
    State.REFUSED: "danger",
    State.UNREACHABLE: "danger",
    State.FAILING: "danger",
}
HEALTH = {
    "refused": "danger",
    "resting": "warning",
    "works": "success",
    "unused": "default",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A status as a page shows it; `source` is "" for those who may not see it."""

    state: str
    colour: str
    source: str
    tested_at: datetime | None


def shown_state(row: Provider) -> tuple[str, str]:
    """Return the state, and the words for it with the reason."""
    status = status_of(row)
    return status.state, _in_words(status)


def shown_source(row: Provider) -> str:
    """Return where the provider's keys come from, and how many if there are several."""
    return _source_in_words(status_of(row))


def shown_status(row: Provider, *, may_see_keys: bool) -> Shown:
    """Return all that the provider's own page shows above the form."""
    status = status_of(row)
    source = _source_in_words(status) if may_see_keys else ""
    colour = COLOURS[status.state]
    return Shown(_in_words(status), colour, source, status.tested_at)


def shown_health(key: ProviderKey) -> tuple[str, str]:
    """Return the outcome of the last request with the key, and the words for it."""
    if key.last_error:
        return "refused", f"refused: {problem(key.last_error).short}"
    if key.resting_until is not None and key.resting_until > timezone.now():
        return "resting", "resting"
    if key.last_used_at is not None:
        return "works", "works"
    return "unused", "not used yet"


def _in_words(status: Status) -> str:
    return f"{status.state}: {status.reason}" if status.reason else str(status.state)


def _source_in_words(status: Status) -> str:
    if status.count > 1 and status.source is not Source.NOT_NEEDED:
        return f"{status.source} ({status.count} keys)"
    return str(status.source)
