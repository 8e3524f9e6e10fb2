"""Every scenario of the emulator on every API, through a server, on each transport."""

from __future__ import annotations

import asyncio
import reprlib
from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.emulator.application import APIS
from tests.emulator.server import Emulator
from tests.support.live import LiveServer
from tests.support.provider_lab import (
    KEY,
    TRANSPORTS,
    Outcome,
    emulated,
    environment,
    question,
    requests_of,
)
from tests.support.provider_outcomes import (
    EXPECTED,
    EXPECTED_OF_SLOW,
    Case,
    Expected,
    cases,
    expected,
    uncovered,
)

PATIENT, SLOW = cases(EXPECTED), cases(EXPECTED_OF_SLOW)
A_HANDFUL = [
    *(("openai", name) for name in ("short", "cut-close", "fail-quota", "empty")),
    *(("claude", name) for name in ("noisy", "first-error", "late-error")),
    *(("gemini", name) for name in ("crlf", "blocked", "bare-error", "fail-auth")),
    *(("deepseek", name) for name in ("reasoning", "twice-fail-server", "long")),
]
# Longer than a busy machine needs for the text that precedes a silence.
HASTY = {
    "LLMCHAT_FIRST_TOKEN_TIMEOUT_S": "4",
    "LLMCHAT_IDLE_TIMEOUT_S": "2.5",
    "LLMCHAT_TOTAL_TIMEOUT_S": "5",
}

# Some texts are huge, and some of the answers come in hundreds of pieces.
SHORTENED = reprlib.Repr()
SHORTENED.maxother = 600

Played = dict[tuple[str, Case], Outcome]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Emulator]:
    with emulated() as server:
        yield server


async def _play(
    servers: dict[LiveServer, list[Case]], transports: tuple[str, ...]
) -> Played:
    """Play all cases on all servers and all transports, in parallel."""

    async def play(server: LiveServer, some: list[Case], transport: str) -> Played:
        outcomes = await TRANSPORTS[transport](server, server.account(), some)
        return {(transport, case): outcome for case, outcome in outcomes.items()}

    parts = await asyncio.gather(
        *(
            play(server, some, transport)
            for server, some in servers.items()
            for transport in transports
        )
    )
    return {key: outcome for part in parts for key, outcome in part.items()}


@pytest.fixture(scope="module")
def played(start_server: StartServer, upstream: Emulator) -> Played:
    """All cases on all transports, asked concurrently before the first test.

    The cases that wait for timeouts come last, when there is less to do.
    """
    patient = start_server("uvicorn", environment(upstream))
    hasty = start_server("uvicorn", environment(upstream, **HASTY))
    transports = tuple(TRANSPORTS)
    everything = asyncio.run(_play({patient: PATIENT}, transports))
    everything |= asyncio.run(_play({hasty: SLOW}, transports))
    for server in (patient, hasty):
        assert "Traceback" not in server.log_text(), server.log
        assert KEY not in server.log_text()
    return everything


def faults(
    transport: str, case: Case, outcome: Outcome, upstream: Emulator
) -> Iterator[str]:
    """Yield what differs from the table: of the outcome, or of how often it asked."""
    wanted, end = expected(case), outcome.end
    if end.get("code", "") != wanted.code:
        yield "code"
    elif wanted.code and not end.get("error"):
        yield "error"
    elif not wanted.code and end.get("finishReason") != wanted.reason:
        yield "finishReason"
    elif not wanted.code and not wanted.fits(end["fullResponse"]):
        yield "fullResponse"
    if transport != "rest":
        yield from faults_of_stream(wanted, outcome)
    elif outcome.status != wanted.status:
        yield "status"
    asked = len(requests_of(upstream, question(transport, case)))
    # A reset may overtake the text that precedes it, which causes another attempt.
    if asked != wanted.attempts and not (wanted.pattern and asked <= 3):
        yield f"{asked} attempts instead of {wanted.attempts}"


def faults_of_stream(wanted: Expected, outcome: Outcome) -> Iterator[str]:
    """Yield what differs of the events: their order, or their text."""
    names, end = outcome.names, "error" if wanted.code else "done"
    if names[:1] != ["llm:stream:start"] or {*names[1:-1]} - {"llm:stream:token"}:
        yield "events"
    if names[-1:] != [f"llm:stream:{end}"]:
        yield "last event"
    if not wanted.fits(outcome.text):
        yield "text"
    told = outcome.end.get("partialResponse" if wanted.code else "fullResponse", "")
    if told != outcome.text:
        yield "text at the end"


def check(transport: str, some: list[Case], played: Played, upstream: Emulator) -> None:
    """Compare cases with the table; name each that differs, and what was seen of it."""
    assert some
    wrong = {}
    for case in some:
        outcome = played[transport, case]
        found = [*faults(transport, case, outcome, upstream)]
        if found:
            seen, wanted = map(SHORTENED.repr, (outcome, expected(case)))
            wrong["-".join(case)] = f"{', '.join(found)}: {seen}, not {wanted}"
    # As a text, because pytest shows only the beginning of a dictionary.
    assert not wrong, "\n".join(f"{name}: {seen}" for name, seen in wrong.items())


def test_the_table_tells_the_outcome_of_every_scenario() -> None:
    assert uncovered() == set()


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_scenario_has_its_end_its_text_and_its_attempts(
    played: Played, upstream: Emulator, transport: str, api: str
) -> None:
    some = [case for case in PATIENT + SLOW if case[0] == api]
    check(transport, some, played, upstream)


@pytest.fixture(scope="module")
def played_on_daphne(start_server: StartServer) -> Iterator[tuple[Played, Emulator]]:
    """A handful of the cases on the other server, with an emulator of its own."""
    with emulated() as upstream:
        server = start_server("daphne", environment(upstream))
        played = asyncio.run(_play({server: A_HANDFUL}, tuple(TRANSPORTS)))
        assert "Traceback" not in server.log_text(), server.log
        yield played, upstream


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_daphne_gives_the_same(
    played_on_daphne: tuple[Played, Emulator], transport: str
) -> None:
    check(transport, A_HANDFUL, *played_on_daphne)
