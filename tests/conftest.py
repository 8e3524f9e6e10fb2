"""Fixtures of the live tests: servers and their database."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from llmchat.providers.local import LocalModel
from serving import garbage
from tests import durations
from tests.support import live
from tests.support.balancer import IN_PLACE

# Fixtures that several folders use.
pytest_plugins = [
    "tests.support.browser",
    "tests.support.certificates_once",
    "tests.support.chat_fixtures",
    "tests.support.databases",
    "tests.support.door",
    "tests.support.flushing",
    "tests.support.live_upstream",
    "tests.support.migrated_once",
    "tests.support.openai_api",
    "tests.support.patience",
    "tests.support.redis_server",
    # After the plugins that these import.
    "tests.support.machines",
    "tests.support.two_workers",
    "tests.support.wire_fixtures",
]

StartServer = Callable[..., live.LiveServer]

# Machines run uvicorn, as `make serve` does.
SERVER_KINDS = ("uvicorn",) if IN_PLACE else ("daphne", "uvicorn")
# For modules whose subject does not depend on the ASGI server.
ONE_SERVER = pytest.mark.parametrize("server", ["uvicorn"], indirect=True)

DAY_S = 86_400
# Few tests take longer, and those do not depend on the day.
LONGEST_TEST_S = 30

# How long an example takes means nothing on a busy machine.
hypothesis_settings.register_profile(
    "llmchat", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("llmchat")


def pytest_configure() -> None:
    """Let servers be interrupted even if the suite runs in the background.

    A shell makes a background command ignore SIGINT, and the processes that it starts
    inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exempt the tests and what they import from garbage collection, as a server does.

    Searching thousands of tests for garbage again and again would take an eighth of
    the suite's time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        garbage.settle()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; short ones fill the gaps at the end.

    Otherwise the last of them would run while most workers have nothing left to do.
    (`--no-loadscope-reorder` keeps pytest-xdist from changing the order.)
    """
    seconds = durations.read()

    def rank(item: pytest.Item) -> tuple[int, str]:
        file = item.nodeid.partition("::")[0]
        return -seconds.get(file, 0), file

    items.sort(key=rank)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Let no day end while a test counts in it: days and months are in UTC.

    Servers have clocks of their own, which tests cannot stop.
    """
    left_s = DAY_S - time.time() % DAY_S
    if left_s < LONGEST_TEST_S:
        time.sleep(left_s + 0.5)
    return (yield)


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> live.Seed:
    """A migrated database with users, made once and copied for each server."""
    directory = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        directory = directory.parent  # shared by all workers of pytest-xdist
    return live.seed_database(directory / "seed", users=live.USERS)


@pytest.fixture(scope="module")
def start_server(
    launch: StartServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartServer]:
    """Start servers with settings of their own; all are stopped after the module."""
    started: list[live.LiveServer] = []

    def start(
        kind: str = "uvicorn",
        env: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> live.LiveServer:
        directory = tmp_path_factory.mktemp(kind)
        server = launch(kind, directory=directory, env=env, port=port)
        started.append(server)
        return server

    try:
        yield start
    finally:
        for server in started:
            server.stop()


@pytest.fixture(scope="module")
def unmeasured() -> Iterator[None]:
    """Measure no coverage of the module's servers, because it slows them down.

    For modules that test how fast a server is, or how much memory it takes.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(live.COVERAGE_VARIABLE, "")
        yield


@pytest.fixture(scope="module")
def server_env() -> Mapping[str, str]:
    """Extra environment for the module's `server`; modules override it."""
    return {}


@pytest.fixture(scope="module", params=SERVER_KINDS)
def server(
    request: pytest.FixtureRequest,
    start_server: StartServer,
    server_env: Mapping[str, str],
) -> Iterator[live.LiveServer]:
    """The product on each ASGI server, the same for the whole module.

    Nothing that a client does may cause an exception: the log is checked at the end.
    """
    started = start_server(request.param, server_env)
    yield started
    assert "Traceback" not in started.log_text(), started.log


@pytest.fixture(scope="session")
def upstream_url() -> Iterator[str]:
    """The address of an OpenAI-compatible server that is not the project's own code."""
    model = LocalModel()
    yield asyncio.run(model.base_url())
    asyncio.run(model.stop())


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """The directory that screenshots are written to."""
    directory = live.ROOT / "test-artifacts"
    directory.mkdir(exist_ok=True)
    return directory
