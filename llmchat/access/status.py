"""Whether a provider can answer, from what is known here: no request is sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from llmchat.access import keys
from llmchat.access.problems import OF_KEYS, problem
from llmchat.models import Provider, ProviderKey
from llmchat.providers.errors import LocalModelMissingError
from llmchat.providers.local import find_weights


class State(StrEnum):
    """What an operator sees first."""

    READY = "ready"
    DISABLED = "disabled"
    NO_ADDRESS = "no address"
    NO_KEY = "no key"
    REFUSED = "key refused"
    UNREACHABLE = "unreachable"
    FAILING = "not working"


class Source(StrEnum):
    """Where a provider's keys come from."""

    ADMIN = "from the admin"
    ENVIRONMENT = "from the environment"
    NOT_NEEDED = "not needed"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Status:
    """A provider's status; `reason` may be "", and `count` is that of usable keys."""

    state: State
    reason: str
    source: Source
    count: int
    tested_at: datetime | None


def status_of(row: Provider) -> Status:
    """Return the status of a provider, whose `keys` may be prefetched."""
    source, count = _source(row)
    state, reason = _state(row, source)
    return Status(state, reason, source, count, row.tested_at)


def _source(row: Provider) -> tuple[Source, int]:
    found = keys.ring(row).keys
    if found:
        is_stored = keys.is_stored(found[0])
        return (Source.ADMIN if is_stored else Source.ENVIRONMENT), len(found)
    return (Source.NONE if row.needs_key else Source.NOT_NEEDED), 0


def _state(row: Provider, source: Source) -> tuple[State, str]:
    if not row.enabled:
        return State.DISABLED, ""
    if row.embedded:
        return _state_of_embedded()
    if not row.address:
        return State.NO_ADDRESS, ""
    if row.needs_key and source is Source.NONE:
        return State.NO_KEY, _unusable(row)
    if row.needs_key and (code := _refusal(row, source)):
        return State.REFUSED, _joined(problem(code).short, _unreadable_keys(row))
    if (code := _test_problem(row)) and code != "no_key":
        found = problem(code)
        return (State.UNREACHABLE if found.is_far else State.FAILING), found.short
    return State.READY, _joined(_refused_keys(row), _unreadable_keys(row))


def _state_of_embedded() -> tuple[State, str]:
    try:
        find_weights()
    except LocalModelMissingError as exc:
        return State.FAILING, problem(exc.code).short
    return State.READY, ""


def _unusable(row: Provider) -> str:
    """Return why none of the stored keys can be used, "" if there are none."""
    if _used(row):
        return problem("unreadable_key").short
    return "all keys are disabled" if row.keys.all() else ""


def _refusal(row: Provider, source: Source) -> str:
    """Return the code with which the provider refused all keys, "" if it did not."""
    if source is Source.ADMIN:
        codes = [key.last_error for key in _used(row) if keys.is_readable(key)]
        return codes[0] if all(codes) else ""
    tested = row.test_problem if row.test_problem in OF_KEYS else ""
    return keys.ring(row).refused_for or tested


def _refused_keys(row: Provider) -> str:
    used = _used(row)
    refused = [key for key in used if key.last_error and keys.is_readable(key)]
    return f"{len(refused)} of {len(used)} keys refused" if refused else ""


def _unreadable_keys(row: Provider) -> str:
    used = _used(row)
    unreadable = [key for key in used if not keys.is_readable(key)]
    if not unreadable:
        return ""
    return f"{len(unreadable)} of {len(used)} keys cannot be decrypted"


def _used(row: Provider) -> list[ProviderKey]:
    return [key for key in row.keys.all() if key.enabled]


def _joined(*reasons: str) -> str:
    return ", ".join(filter(None, reasons))


def _test_problem(row: Provider) -> str:
    """Return what the last test found, unless a key has worked since."""
    if not row.test_problem or row.test_problem in OF_KEYS:
        return ""
    return (
        ""
        if any(_worked_since(row, key) for key in row.keys.all())
        else (row.test_problem)
    )


def _worked_since(row: Provider, key: ProviderKey) -> bool:
    if row.tested_at is None or key.last_used_at is None or key.last_error:
        return False
    return key.last_used_at > row.tested_at
