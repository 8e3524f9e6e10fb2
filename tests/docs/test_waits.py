"""How long the clients wait for new tokens, and how long the server allows for it.

A lost answer leaves a client with a refresh token that was used. The client must try
again before the server would take that for a theft. The figures are in four languages.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from accounts import revocation
from llmchat.description.accounts import OPERATIONS
from tests.support.live import ROOT
from tests.support.pages import script

GRACE_S = revocation._REUSE_GRACE.total_seconds()
# How many answers in a row may be lost.
LOST = 3
# The limit holds for the silence before the head of an answer, and again after it.
HALVES = 2


def page(name: str) -> str:
    return (ROOT / "frontend/src/llm" / name).read_text()


def module() -> str:
    return script("docs/integration.md", "javascript", "// llmchat.mjs")


def program() -> str:
    return script("docs/integration.md", "python", "# chat.py")


def figure(source: str, name: str) -> float:
    """Return a constant in seconds; its name has the unit."""
    (found,) = re.findall(rf"^(?:const )?{name} = ([\d_]+)", source, re.MULTILINE)
    return int(found) / (1000 if name.endswith("_MS") else 1)


CLIENTS: dict[str, Callable[[], float]] = {
    "the page": lambda: (
        HALVES * figure(page("session.ts"), "REFRESH_MS")
        + figure(page("connection.ts"), "RETRY_MS")
    ),
    "the module": lambda: figure(module(), "REFRESH_MS") + figure(module(), "RETRY_S"),
    "the Python program": lambda: (
        HALVES * figure(program(), "REFRESH_S") + figure(program(), "RETRY_S")
    ),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_comes_again_in_time_though_several_answers_are_lost(
    client: str,
) -> None:
    """A tab that waits for its turn tries again as soon as the one before gives up."""
    assert LOST * CLIENTS[client]() < GRACE_S


@pytest.mark.parametrize("name", ["integration", "operations"])
def test_the_documentation_tells_how_long_the_server_allows(name: str) -> None:
    text = (ROOT / f"docs/{name}.md").read_text()
    told = re.findall(r"more than (\d+) seconds\s+later", text)
    assert told == [f"{GRACE_S:.0f}"]


def test_the_api_s_description_tells_how_long_the_server_allows() -> None:
    details = OPERATIONS["POST /auth/token/refresh"].details
    assert re.findall(r"within (\d+) seconds", details) == [f"{GRACE_S:.0f}"]


@pytest.mark.parametrize("client", [module, program])
def test_a_client_tells_how_long_the_server_allows(client: Callable[[], str]) -> None:
    told = re.findall(r"refresh token again for (\d+) seconds", client())
    assert told == [f"{GRACE_S:.0f}"]


def test_the_documentation_tells_how_long_to_wait() -> None:
    text = (ROOT / "docs/integration.md").read_text()
    (told,) = re.findall(r"for the answer no longer than (\d+) seconds", text)
    assert int(told) == figure(page("session.ts"), "REFRESH_MS")
