"""A provider's key, and what a provider says about it, are not leaked anywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict

import pytest

from tests.conftest import StartServer
from tests.emulator.server import Emulator
from tests.support.live import LiveServer
from tests.support.provider_lab import (
    TRANSPORTS,
    Outcome,
    emulated,
    environment,
    http_client,
)
from tests.support.provider_outcomes import Case

CANARY = "SECRET"  # in each key, and in what the emulator says when it refuses one
ENV = {
    "LOG_LEVEL": "DEBUG",
    "LLMCHAT_FIRST_TOKEN_TIMEOUT_S": "2",
    "LLMCHAT_IDLE_TIMEOUT_S": "1",
    # Refused by the provider, which repeats the key.
    "OPENAI_API_KEY": f"sk-bad-{CANARY}-1, sk-bad-{CANARY}-2",
    "GEMINI_API_KEY": f"sk-bad-{CANARY}",
    # Accepted by the provider, which then fails in every other way.
    "ANTHROPIC_API_KEY": f"sk-{CANARY}",
    # Not even fit for a header.
    "DEEPSEEK_API_KEY": f"sk-{CANARY}-\u00fc\u2028",
}
CASES: list[Case] = [
    ("openai", "short"),
    ("openai", "fail-auth"),
    ("gemini", "short"),
    ("deepseek", "short"),
    *(
        ("claude", scenario)
        for scenario in (
            *("fail-auth", "fail-no-key", "fail-quota", "html-502", "html"),
            *("slow-first", "silence", "reset-before-headers", "late-error"),
            *("not-json", "redirect", "short"),
        )
    ),
]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Emulator]:
    with emulated() as server:
        yield server


@pytest.fixture(scope="module")
def product(start_server: StartServer, upstream: Emulator) -> LiveServer:
    return start_server("uvicorn", environment(upstream) | ENV)


@pytest.fixture(scope="module")
def told(product: LiveServer, upstream: Emulator) -> dict[str, str]:
    """All that the server has sent, stored or logged, by place."""
    return asyncio.run(_provoke(product))


async def _provoke(server: LiveServer) -> dict[str, str]:
    account = server.account()
    told: dict[str, str] = {}
    for name, run in TRANSPORTS.items():
        outcomes: dict[Case, Outcome] = await run(server, account, CASES)
        assert sum(1 for o in outcomes.values() if not o.end.get("code")) == 1
        told[name] = json.dumps([asdict(outcome) for outcome in outcomes.values()])
    async with http_client(server, account) as client:
        told["providers"] = (await client.get("/llm/providers")).text
    tables = server.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
    rows = {table: server.rows(f'SELECT * FROM "{table}"') for (table,) in tables}
    told["database"] = repr(rows)
    told["log"] = server.log_text()
    return told


@pytest.mark.parametrize("where", [*TRANSPORTS, "providers", "database", "log"])
def test_no_key_and_no_word_of_a_provider_is_anywhere(
    told: dict[str, str], where: str
) -> None:
    assert told[where]
    assert CANARY not in told[where]


def test_the_log_tells_of_the_refusals_all_the_same(told: dict[str, str]) -> None:
    assert "provider_auth" in told["log"]
    assert "invalid_api_key" in told["log"]
    assert "Traceback" not in told["log"]


def test_the_keys_did_reach_the_provider(
    told: dict[str, str], upstream: Emulator
) -> None:
    headers = [json.dumps(request.headers) for request in upstream.requests]
    targets = [request.target for request in upstream.requests]
    assert any(CANARY in header for header in headers)
    assert not any(CANARY in target for target in targets)
