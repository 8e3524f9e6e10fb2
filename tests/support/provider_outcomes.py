"""The outcome of every scenario of the emulator, on every API that it applies to.

One table for all the tests that go through a whole server: the end, the text and the
number of requests to the provider do not depend on how the turn arrived.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.emulator.application import APIS
from tests.emulator.scenarios import (
    HUGE,
    LONG,
    SCENARIOS,
    SHORT,
    UNICODE,
    applies,
)

Case = tuple[str, str]  # API, scenario

# REST answers with this status; Socket.IO and server-sent events carry only the code.
STATUS = {
    "": 200,
    "bad_request": 400,
    "context_too_long": 400,
    "model_not_found": 404,
    "content_filtered": 502,
    "empty_answer": 502,
    "provider_auth": 502,
    "provider_error": 502,
    "provider_quota": 503,
    "provider_rate_limited": 503,
    "provider_unavailable": 503,
    "provider_timeout": 504,
}


@dataclass(frozen=True, slots=True)
class Expected:
    """The end of a turn: done with `reason` if `code` is empty, otherwise an error.

    `text` is the text up to the end, all of the answer or a part of it. If the network
    decides how much of it arrives, `pattern` matches it instead.
    """

    text: str = ""
    code: str = ""
    reason: str = "stop"
    attempts: int = 1
    pattern: str = ""

    @property
    def status(self) -> int:
        """The status of a REST answer in one piece."""
        return STATUS[self.code]

    def fits(self, text: str) -> bool:
        """Return whether this is the expected text."""
        if self.pattern:
            return re.fullmatch(self.pattern, text) is not None
        return text == self.text


WHOLE = Expected(SHORT.text)
PARTIAL = Expected(SHORT.text, "provider_error")
BEGINNING = Expected(code="provider_error", pattern="(Hel(lo, )?)?")


def _done(text: str, reason: str = "stop", attempts: int = 1) -> Expected:
    return Expected(text, reason=reason, attempts=attempts)


def _failed(code: str, attempts: int = 1) -> Expected:
    return Expected(code=code, attempts=attempts)


def _late(code: str) -> Expected:
    return Expected(SHORT.text, code)


EXPECTED: dict[str, Expected] = {
    **dict.fromkeys(
        (
            *("short", "short-close", "reasoning", "trickle", "lingering"),
            *("lf", "crlf", "cr", "bom", "no-space", "no-final-newline"),
            *("multi-data", "noisy", "comments-first", "unnamed-events"),
            *("whole", "whole-late", "whole-untyped", "untyped"),
            *("usage-finish", "usage-every", "usage-none", "no-terminator"),
            *("delta-null", "no-choices-first", "no-parts"),
            *("second-start-same", "finish-everywhere", "early-finish"),
            *("second-choice", "second-candidate", "heartbeats", "mislabelled"),
        ),
        WHOLE,
    ),
    "long": _done(LONG.text),
    "unicode": _done(UNICODE.text),
    "bytewise": _done(UNICODE.text),
    "huge-line": _done(HUGE.text),
    "surrogates": _done("😀 and \ufffd!"),
    "surrogate-last": _done("end \ufffd"),
    "thinking-parts": _done("So: " + SHORT.text),
    "delta-list": _done("Parts. " + SHORT.text),
    "bare-chunks": _done("Hi you"),
    "other-blocks": _done("First. " + SHORT.text),
    "refusal": _done("I can't help.", "content_filter"),
    "length": _done(SHORT.text, "length"),
    "filter-after": _done(SHORT.text, "content_filter"),
    "new-reason": _done(SHORT.text, "other"),
    "tool-text": _done(SHORT.text, "other"),
    "no-finish": _done(SHORT.text, "other"),
    # Failures, with the text that arrived before them.
    **dict.fromkeys(
        (
            *("unfinished", "cut-chunked", "cut-close", "ollama-error", "not-json"),
            *("late-error", "late-error-done", "string-error", "broken-text"),
        ),
        PARTIAL,
    ),
    "bare-error": _late("provider_unavailable"),
    "second-start-other": BEGINNING,
    "reset-in-character": BEGINNING,
    "cut-after-early-finish": BEGINNING,
    # Failures before any text: retried if that may help.
    "filter-before": _failed("content_filtered"),
    "blocked": _failed("content_filtered"),
    "tool-silent": _failed("provider_error"),
    "broken-silent": _failed("provider_error", 3),
    "empty": _failed("empty_answer", 2),
    "starved": _failed("empty_answer"),
    "unfinished-silent": _failed("provider_error", 3),
    "cut-silent": _failed("provider_error", 3),
    "nothing": _failed("provider_error", 3),
    "reset-before-headers": _failed("provider_error", 3),
    "empty-500": _failed("provider_error", 3),
    "html-502": _failed("provider_error", 3),
    "html": _failed("provider_error"),
    "html-404": _failed("provider_error"),
    "redirect": _failed("provider_error"),
    "ndjson": _failed("provider_error"),
    "array": _failed("provider_error"),
    "detail-error": _failed("provider_error", 3),
    "object-error": _failed("bad_request"),
    "json-error": _failed("provider_unavailable", 3),
    "json-array-error": _failed("provider_unavailable", 3),
    "first-error": _failed("provider_unavailable", 3),
    "bare-error-first": _failed("provider_unavailable", 3),
    "first-error-final": _failed("context_too_long"),
    # Failures before the stream, named after the rows of the APIs' tables.
    **dict.fromkeys(
        (
            *("fail-auth", "fail-no-key", "fail-permission", "fail-token"),
            *("once-fail-auth", "once-fail-permission"),
        ),
        _failed("provider_auth"),
    ),
    **dict.fromkeys(
        (
            *("fail-quota", "fail-credit", "fail-spend", "fail-cap"),
            *("fail-billing-off", "once-fail-quota"),
        ),
        _failed("provider_quota"),
    ),
    **dict.fromkeys(
        (
            *("fail-bad-request", "fail-parameter", "fail-unprocessable"),
            *("fail-unverified", "fail-empty-text", "fail-no-max-tokens"),
            *("fail-prefill", "fail-system-role", "fail-temperature", "fail-version"),
            *("fail-tools", "fail-thoughtless"),
        ),
        _failed("bad_request"),
    ),
    "fail-eaten": _failed("empty_answer"),
    "fail-context": _failed("context_too_long"),
    "fail-context-and-limit": _failed("context_too_long"),
    "fail-too-large": _failed("context_too_long"),
    "fail-model": _failed("model_not_found"),
    "fail-conflict": _failed("provider_error", 3),
    "fail-server": _failed("provider_error", 3),
    "fail-slow": _failed("provider_timeout", 3),
    "fail-unavailable": _failed("provider_unavailable", 3),
    **dict.fromkeys(
        (
            *("fail-rate", "fail-rate-ms", "fail-rate-date", "fail-rate-negative"),
            *("fail-rate-absurd", "fail-rate-silent"),
        ),
        _failed("provider_rate_limited", 3),
    ),
    "fail-rate-long": _failed("provider_rate_limited"),
    # Failures of only the first request or the first two.
    "once-fail-rate": _done(SHORT.text, attempts=2),
    "once-fail-unavailable": _done(SHORT.text, attempts=2),
    "twice-fail-server": _done(SHORT.text, attempts=3),
    "once-first-error": _done(SHORT.text, attempts=2),
    "once-reset-before-headers": _done(SHORT.text, attempts=2),
    "once-cut-silent": _done(SHORT.text, attempts=2),
    "once-empty": _done(SHORT.text, attempts=2),
    "twice-empty": _failed("empty_answer", 2),
    "once-late-error": PARTIAL,
    "once-cut-close": PARTIAL,
}

# These need a server with short timeouts for its providers.
EXPECTED_OF_SLOW: dict[str, Expected] = {
    "slow-headers": _failed("provider_timeout"),
    "slow-first": _failed("provider_timeout"),
    "comments-only": _failed("provider_timeout"),
    "silence": _late("provider_timeout"),
    "comments-after-text": _late("provider_timeout"),
    "silence-after-finish": WHOLE,
    "endless": Expected(code="provider_timeout", pattern="(on )+"),
}

# Cases in which one API differs from the others.
_EXCEPTIONS: dict[Case, Expected] = {
    # Only the status distinguishes DeepSeek's overload from a failure, and it is 200.
    ("deepseek", "json-error"): _failed("provider_error", 3),
    ("deepseek", "json-array-error"): _failed("provider_error", 3),
    ("deepseek", "first-error"): _failed("provider_error", 3),
}


def expected(case: Case) -> Expected:
    """Return the expected outcome of a case."""
    _, scenario = case
    table = EXPECTED | EXPECTED_OF_SLOW
    return _EXCEPTIONS.get(case, table[scenario])


def cases(table: dict[str, Expected]) -> list[Case]:
    """Return a table's cases: each scenario on each API that it applies to."""
    return [
        (name, scenario)
        for name in APIS
        for scenario in table
        if _is_known(name, scenario)
    ]


def uncovered() -> set[Case]:
    """Return the cases that the emulator can play and that no table covers."""
    every = {
        (name, scenario)
        for name, api in APIS.items()
        for scenario in [*SCENARIOS, *(f"fail-{row}" for row in api.failures)]
        if scenario.startswith("fail-") or applies(scenario, api)
    }
    return every - {*cases(EXPECTED), *cases(EXPECTED_OF_SLOW)}


def _is_known(name: str, scenario: str) -> bool:
    api = APIS[name]
    plain = scenario.removeprefix("once-").removeprefix("twice-")
    return plain.removeprefix("fail-") in api.failures or applies(plain, api)
