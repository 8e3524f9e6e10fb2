"""The limits of `tests/jitter.py`: what may have been counted, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Counters that must stay 0, whatever is done to the workers: see tests/js/jitter.cjs.
NEVER = {
    "broken": "answers whose text is not what was sent",
    "doubled": "answers with text that was received twice",
    "unended": "answers with an end that has no reason",
    "hanging": "answers that stopped without an end",
    "unheard": "acknowledged questions of which nothing was heard",
    "ignored": "questions that were not acknowledged, on a connection that held",
    "cut": "acknowledged answers that a client could not attach to",
    "late": "events behind the end of an answer",
    "tracebacks": "tracebacks in the logs",
    "streaming": "answers that are stored as still running",
}
# Of those that come back, how many may find their socket gone: one in a thousand.
FRESH_SHARE = 0.001
CAUGHT_UP_MS = 1000
BACK_MS = 2000
LOST_S = 1.0


@dataclass(frozen=True, slots=True)
class Faults:
    """What is done during a run, besides connections that are reset."""

    kills: bool = False
    restarts: bool = False
    redis_down: bool = False


def wrong(counted: dict[str, Any], faults: Faults) -> list[str]:
    """Return what is beyond its limit, in words."""
    found = [f"{counted[name]} {what}" for name, what in NEVER.items() if counted[name]]
    return [*found, *_unexplained(counted, faults), *_slow(counted, faults)]


def _unexplained(counted: dict[str, Any], faults: Faults) -> Iterator[str]:
    """Yield what only some faults explain."""
    if not counted["whole"]:
        yield "no answer was received whole"
    # A worker drains, or is killed before an answer's first token.
    reasons = {"draining"} if faults.restarts else set[str]()
    reasons |= {"interrupted"} if faults.kills else set()
    for name in ("turnedAway", "refused"):
        for code in counted[name].keys() - reasons:
            yield f"{counted[name][code]} {name} with the code {code}"
    if counted["interrupted"] and not (faults.kills or faults.restarts):
        yield f"{counted['interrupted']} answers were interrupted"
    returned = counted["recovered"] + counted["fresh"]
    # While Redis is away, no other worker can know what a client has seen.
    if counted["fresh"] > FRESH_SHARE * returned and not faults.redis_down:
        yield f"{counted['fresh']} of {returned} sockets were not recovered"


def _slow(counted: dict[str, Any], faults: Faults) -> Iterator[str]:
    """Yield what took too long."""
    caught_up, back = counted["caughtUpMs"]["p99"], counted["backMs"]["p95"]
    # What a killed worker wrote is delivered once it is known to be dead, and what one
    # worker holds for another waits for Redis.
    is_undisturbed = not (faults.kills or faults.redis_down)
    if is_undisturbed and caught_up is not None and caught_up > CAUGHT_UP_MS:
        yield f"caught up p99 {caught_up} ms"
    if faults.restarts and back is not None and back > BACK_MS:
        yield f"back p95 {back} ms"
    if counted["lostTextS"] > LOST_S:
        yield f"{counted['lostTextS']:.2f} s of text were lost"
