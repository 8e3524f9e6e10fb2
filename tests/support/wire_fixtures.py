"""Servers of the protocol tests: one process for a module, profile and kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.wire import Wire

__all__ = ["profile", "wire"]

KINDS = ("uvicorn", "daphne")


@pytest.fixture(scope="module")
def profile() -> str:
    """Which test application to serve: override it in the module."""
    return "B"


@pytest.fixture(scope="module", params=KINDS)
def wire(
    request: pytest.FixtureRequest,
    profile: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Wire]:
    """The test application on each ASGI server.

    Nothing that a client does may make it stumble: its log is read at the end.
    """
    log: Path = tmp_path_factory.mktemp("wire") / "server.log"
    server = Wire(profile, request.param, log)
    yield server
    assert server.process.poll() is None, server.log_text()
    server.stop()
    text = server.log_text()
    assert text.count("Traceback") == server.expected_tracebacks, text[:5000]
    assert "took too long" not in text, text[:5000]
