"""A provider that the test controls, for servers in processes of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support import live
from tests.support.upstream import Upstream, running_upstream

__all__ = ["live_upstream", "page_upstream", "upstream_env", "upstream_port"]


@pytest.fixture(scope="module")
def upstream_port() -> int:
    """The port of each test's upstream: the same, so that the tests share a server."""
    return live.free_port()


@pytest.fixture(scope="module")
def upstream_env(upstream_port: int) -> dict[str, str]:
    """Settings that make a server use the upstream as OpenAI."""
    return {
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
    }


@pytest.fixture
async def live_upstream(upstream_port: int) -> AsyncIterator[Upstream]:
    async with running_upstream(upstream_port) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def page_upstream(upstream_port: int) -> AsyncIterator[Upstream]:
    """The same for tests in a browser, which run in the session's event loop."""
    async with running_upstream(upstream_port) as server:
        yield server
