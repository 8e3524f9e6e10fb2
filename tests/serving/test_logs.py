"""What the log is spared."""

from __future__ import annotations

import logging

import pytest

from serving.logs import PeersFault


def record(text: str, exc: Exception | None = None) -> logging.LogRecord:
    info = (type(exc), exc, None) if exc else None
    return logging.LogRecord("uvicorn.error", 40, "x.py", 1, text, (), info)


def test_of_each_kind_one_line_a_minute_passes() -> None:
    now = 0.0
    log = PeersFault(clock=lambda: now)
    kinds = ["opening handshake failed", "Invalid HTTP request received."]

    first = [log.filter(record(kind)) for kind in kinds for _ in range(50)]
    now = 60.0
    later = record(kinds[0], ValueError("sk-secret"))

    assert first.count(True) == 2
    assert log.filter(later)
    assert later.getMessage() == (
        "opening handshake failed (ValueError) (49 more since the last such line)"
    )
    assert later.exc_info is None
    assert later.levelname == "WARNING"


@pytest.mark.parametrize("text", ["Exception in ASGI application\n", "Started"])
def test_faults_of_ours_pass_as_they_are(text: str) -> None:
    log = PeersFault(clock=lambda: 0.0)
    ours = record(text, ValueError("x"))

    assert all(log.filter(ours) for _ in range(50))
    assert ours.exc_info is not None
    assert ours.levelname == "ERROR"
