"""What the tests of the providers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from llmchat.providers import retry
from llmchat.providers.http import default
from llmchat.providers.http.library import LibraryTransport
from llmchat.providers.http.pool import PooledTransport
from tests.emulator.driver import Lab, NewTransport, lab


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_BASE_DELAY_S", 0.01)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module that sets `BOTH_WAYS` over both transports."""
    both_ways = getattr(metafunc.module, "BOTH_WAYS", False)
    if both_ways and "new_transport" in metafunc.fixturenames:
        ways = [PooledTransport, LibraryTransport]
        metafunc.parametrize("new_transport", ways, ids=["lean", "library"])


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests of a module that sets `BOTH_LOOPS` on the server's loop, too."""
    module = item.getparent(pytest.Module)
    if module is None or not getattr(module.obj, "BOTH_LOOPS", False):
        return {"asyncio": asyncio.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def new_transport() -> NewTransport:
    """The factory of the transport that a test's client uses."""
    return default.new_transport


@pytest.fixture
async def setting(new_transport: NewTransport) -> AsyncIterator[Lab]:
    """An emulator of all four APIs and a client for it."""
    async with lab(new_transport=new_transport) as started:
        yield started
