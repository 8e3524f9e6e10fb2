"""The loads of the comparison: what the clients do, and which figures result."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

QUICK = os.environ.get("QUICK") == "1"
# A quick run of everything, with all peers, is to take less than five minutes.
IDLE = 1_000 if QUICK else 2_000
SLOW = 10
WINDOW_S = 1.0 if QUICK else 8
_SHORT_S = 1.0 if QUICK else 4
_PACED = "t60r30" if QUICK else "t900r30"
_SPREAD_MS = 500 if QUICK else 4_000
_WARM_S = 0.3 if QUICK else 0.5

Seen = dict[str, Any]
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Load:
    """A load: the arguments of the clients, and how figures are made of what they saw.

    `warm_s` passes before the window of `window_s` that is measured. Memory is measured
    only once, on a fresh server: the next time, it would reuse memory of the last.
    """

    name: str
    count: int
    transport: str
    mode: str
    argument: int
    model: str
    figures: Callable[[Seen], Figures]
    warm_s: float = _WARM_S
    window_s: float = _SHORT_S
    memory: bool = False
    rounds: int = 99

    @property
    def arguments(self) -> tuple[object, ...]:
        """The arguments of the client program after the port and the tokens."""
        what = (self.count, self.transport, self.mode, self.argument, self.model)
        return (*what, self.window_s, self.warm_s)

    @property
    def api(self) -> str:
        """The API that the load needs: "openai" or "llmchat"."""
        return "openai" if self.transport.startswith("openai") else "llmchat"


def _us_each(seen: Seen, what: str) -> float:
    return float(seen["cpu_s"]) / max(1, seen[what]) * 1e6


def _short(seen: Seen) -> Figures:
    return {
        "CPU of a stream, µs": _us_each(seen, "window_done"),
        "streams a second": seen["window_done"] / seen["seconds"],
    }


def _arrivals(seen: Seen) -> Figures:
    return {
        "CPU of a token, µs": _us_each(seen, "window_tokens"),
        "first token p50, ms": seen["first_ms"][0],
        "first token p99, ms": seen["first_ms"][2],
    }


def _tokens(seen: Seen) -> Figures:
    return {
        "CPU of a token, µs": _us_each(seen, "window_tokens"),
        "delay of a token p50, ms": seen["delay_ms"][0],
        "delay of a token p99, ms": seen["delay_ms"][2],
    }


def _first(seen: Seen) -> Figures:
    return {"first token added p50, ms": seen["first_ms"][0]}


def _whole(seen: Seen) -> Figures:
    return {"added p50, ms": seen["whole_ms"][0]}


def _flat_out(seen: Seen) -> Figures:
    return {
        "CPU of a token, µs": _us_each(seen, "window_tokens"),
        "tokens a second": seen["window_tokens"] / seen["seconds"],
    }


def _connects(seen: Seen) -> Figures:
    return {
        "CPU of a connect, µs": _us_each(seen, "window_joined"),
        "connects a second": seen["window_joined"] / seen["seconds"],
    }


def _idle(seen: Seen) -> Figures:
    return {"memory of a socket, KiB": seen["memory_kib"] / IDLE}


def _slow(seen: Seen) -> Figures:
    return {"memory of a reader, KiB": seen["memory_kib"] / SLOW}


def _cancel(seen: Seen) -> Figures:
    return {
        "cancelled p50, ms": seen["cancel_ms"][0],
        "cancelled p99, ms": seen["cancel_ms"][2],
    }


def _paced(count: int) -> Load:
    return Load(
        f"{count} streams × 30 tokens/s",
        *(count, "websocket", "once", _SPREAD_MS, _PACED),
        _tokens,
        warm_s=_SPREAD_MS / 1000 + _WARM_S,
        window_s=WINDOW_S,
    )


LOADS = (
    Load(
        "idle sockets",
        *(IDLE, "websocket", "idle", 0, "-", _idle),
        window_s=1 if QUICK else 2,
        memory=True,
        rounds=1,
    ),
    Load(
        "slow readers of 10,000 tokens",
        *(SLOW, "websocket", "slow", 0, "t10000r0", _slow),
        window_s=_SHORT_S,
        memory=True,
        rounds=1,
    ),
    Load("short streams", 32, "websocket", "closed", 0, "t10r0", _short),
    Load(
        "50 new streams/s × 60 tokens",
        *(150, "websocket", "open", 50, "t60r30", _arrivals),
        warm_s=2,
        window_s=WINDOW_S,
    ),
    Load("one stream at a time", 1, "websocket", "closed", 0, "t10r0", _first),
    _paced(100),
    _paced(300),
    Load("flat out", 50, "websocket", "closed", 0, "t2000r0", _flat_out),
    Load("WebSocket connects", 50, "websocket", "connect", 0, "-", _connects),
    Load("polling + upgrade connects", 50, "upgrade", "connect", 0, "-", _connects),
    Load(
        "100 polling streams × 30 tokens/s",
        *(100, "polling", "once", _SPREAD_MS, _PACED, _tokens),
        warm_s=_SPREAD_MS / 1000,
        window_s=_SHORT_S,
    ),
    Load("cancel", 20, "websocket", "cancel", 0, "t900r30", _cancel),
    Load("50 SSE streams × 50 tokens/s", 50, "sse", "closed", 0, "t100r50", _tokens),
    Load("one SSE stream at a time", 1, "sse", "closed", 0, "t10r0", _first),
    Load("one REST answer at a time", 1, "rest", "closed", 0, "t10r0", _whole),
)

# Asked as OpenAI's API does, so that a gateway which speaks no other can be compared.
OPENAI_LOADS = (
    Load(
        "50 OpenAI SSE streams × 50 tokens/s",
        *(50, "openai-sse", "closed", 0, "t100r50", _tokens),
    ),
    Load(
        "one OpenAI SSE stream at a time",
        *(1, "openai-sse", "closed", 0, "t10r0", _first),
    ),
    Load(
        "one OpenAI REST answer at a time",
        *(1, "openai-rest", "closed", 0, "t10r0", _whole),
    ),
)

# Counters that must stay 0 in every load: see streams.c.
FAULTS = ("lost", "doubled", "strange", "errors", "refused", "closed", "unended")


def faults(seen: Seen) -> dict[str, int]:
    """Return the counters of what was wrong with the streams of a load."""
    return {name: seen[name] for name in FAULTS if seen[name]}
