"""Servers of the protocol tests: one process for each module, profile and kind.

The kind "workers" is several processes behind a load balancer that knows no sessions.
With `LLMCHAT_TEST_WORKERS`, that many processes replace each server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.balancer import IN_PLACE, balanced
from tests.support.redis_server import RedisServer
from tests.support.wire import Wire

__all__ = ["either", "engine", "profile", "sio", "wire"]

WORKERS = IN_PLACE or 3
KINDS = ("workers",) if IN_PLACE else ("uvicorn", "daphne")
# For modules whose subject does not depend on the ASGI server.
ON_ONE_KIND = pytest.mark.parametrize("wire", KINDS[:1], indirect=True)
# For modules that also run on several workers in `make test`.
ON_WORKERS_TOO = pytest.mark.parametrize(
    "wire", dict.fromkeys((*KINDS, "workers")), indirect=True
)


@pytest.fixture(scope="module")
def profile() -> str:
    """The test application to serve; modules override it."""
    return "B"


@pytest.fixture(scope="module", params=KINDS)
def wire(
    request: pytest.FixtureRequest,
    profile: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Wire]:
    """The test application on each ASGI server.

    Nothing that a client does may cause an exception: the log is checked at the end.
    """
    log: Path = tmp_path_factory.mktemp("wire") / "server.log"
    with ExitStack() as stack:
        if request.param == "workers":
            server = stack.enter_context(_workers(profile, log))
        else:
            server = Wire(profile, request.param, log)
            stack.callback(server.stop)
        yield server
        assert server.process.poll() is None, server.log_text()
    text = server.log_text()
    assert text.count("Traceback") == server.expected_tracebacks, text[:5000]
    assert "took too long" not in text, text[:5000]


@pytest.fixture(params=("/engine.io/", "/socket.io/"))
def either(request: pytest.FixtureRequest, wire: Wire) -> Wire:
    """Each of the two applications that the profiles of the official suites have."""
    wire.path = request.param
    return wire


@pytest.fixture
def engine(wire: Wire) -> Wire:
    """The application of theirs that speaks Engine.IO only."""
    wire.path = "/engine.io/"
    return wire


@pytest.fixture
def sio(wire: Wire) -> Wire:
    """The application of theirs that speaks Socket.IO."""
    wire.path = "/socket.io/"
    return wire


@contextmanager
def _workers(profile: str, log: Path) -> Iterator[Wire]:
    redis = RedisServer()
    redis.start()
    try:
        server = Wire(profile, "uvicorn", log, workers=WORKERS, redis=redis.url)
        try:
            with balanced(server.ports) as server.port:
                yield server
        finally:
            server.stop()
    finally:
        redis.kill()
