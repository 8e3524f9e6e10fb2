"""Every scenario of the emulator on every API, through a server, on each transport."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
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


def check(transport: str, case: Case, outcome: Outcome, upstream: Emulator) -> None:
    """Compare an outcome, and how often the emulator was asked, with the table."""
    wanted = expected(case)
    assert outcome.end.get("code", "") == wanted.code, outcome
    if wanted.code:
        assert outcome.end["error"]
    else:
        assert outcome.end["finishReason"] == wanted.reason
        assert wanted.fits(outcome.end["fullResponse"])
    if transport == "rest":
        assert outcome.status == wanted.status
    else:
        assert outcome.names[0] == "llm:stream:start"
        assert set(outcome.names[1:-1]) <= {"llm:stream:token"}
        end = "llm:stream:error" if wanted.code else "llm:stream:done"
        assert outcome.names[-1] == end
        assert wanted.fits(outcome.text)
        told = outcome.end.get("partialResponse" if wanted.code else "fullResponse", "")
        assert told == outcome.text
    asked = len(requests_of(upstream, question(transport, case)))
    # A reset may overtake the text that precedes it, which causes another attempt.
    assert asked == wanted.attempts or (wanted.pattern and asked <= 3)


def test_the_table_tells_the_outcome_of_every_scenario() -> None:
    assert uncovered() == set()


@pytest.mark.parametrize("case", PATIENT + SLOW, ids="-".join)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_scenario_has_its_end_its_text_and_its_attempts(
    played: Played, upstream: Emulator, transport: str, case: Case
) -> None:
    check(transport, case, played[transport, case], upstream)


@pytest.fixture(scope="module")
def played_on_daphne(start_server: StartServer) -> Iterator[tuple[Played, Emulator]]:
    """A handful of the cases on the other server, with an emulator of its own."""
    with emulated() as upstream:
        server = start_server("daphne", environment(upstream))
        played = asyncio.run(_play({server: A_HANDFUL}, tuple(TRANSPORTS)))
        assert "Traceback" not in server.log_text(), server.log
        yield played, upstream


@pytest.mark.parametrize("case", A_HANDFUL, ids="-".join)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_daphne_gives_the_same(
    played_on_daphne: tuple[Played, Emulator], transport: str, case: Case
) -> None:
    played, upstream = played_on_daphne
    check(transport, case, played[transport, case], upstream)
