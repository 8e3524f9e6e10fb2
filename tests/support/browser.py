"""Chromium for the tests, and the errors that its pages report."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.support.live import ROOT

__all__ = ["chromium"]
# The first is the same engine without a window system, at two thirds of the cost.
CHROMIUMS = (
    *("chromium-headless-shell", "chromium", "chromium-browser"),
    *("google-chrome", "google-chrome-stable"),
)
# One Chromium runs in the event loop of a whole session.
IN_BROWSER = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LIMIT_MS = 60_000
# Options of `open_page`.
MOTION: dict[str, Any] = {"reduced_motion": "no-preference"}

expect.set_options(timeout=LIMIT_MS)
# Playwright runs on Node, which can keep what it compiled for the next run.
os.environ.setdefault("NODE_COMPILE_CACHE", str(ROOT / ".pytest_cache" / "node"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One Chromium for all tests: starting it costs more than most of them do.

    If there is no Chromium, the test is skipped, or fails in CI.
    """
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=find_chromium(), args=ARGUMENTS
        )
        yield browser
        await browser.close()


def find_chromium() -> str:
    """Return the path of Chromium; without it skip the test, or fail if CI=true."""
    named = os.environ.get("LLMCHAT_CHROMIUM")
    if named:
        return named
    for path in filter(None, map(shutil.which, CHROMIUMS)):
        return path
    missing = "no Chromium found: install one or set LLMCHAT_CHROMIUM"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


@asynccontextmanager
async def open_page(
    chromium: Browser, **options: Any
) -> AsyncIterator[tuple[Page, list[str]]]:
    """Open an empty page that shares nothing with others.

    The list collects its exceptions and the errors on its console. Its user wants no
    motion, because each frame of a movement is painted by the processor. A test of
    what moves asks for `MOTION`.
    """
    context = await chromium.new_context(**({"reduced_motion": "reduce"} | options))
    try:
        context.set_default_timeout(LIMIT_MS)
        page = await context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                complaints.append(message.text) if message.type == "error" else None
            ),
        )
        yield page, complaints
    finally:
        await context.close()


async def shoot(page: Page, path: Path, *, full_page: bool = False) -> None:
    """Keep a screenshot of the page, if `LLMCHAT_TEST_SCREENSHOTS` asks for them.

    No test reads one, and a hundred of them take a while.
    """
    if os.environ.get("LLMCHAT_TEST_SCREENSHOTS"):
        await page.screenshot(path=path, full_page=full_page)


class _QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without logging."""

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """Serve a folder on its own port, as a developer's page is; yield its address."""
    handler = partial(_QuietHandler, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as files:
        thread = threading.Thread(target=files.serve_forever, daemon=True)
        thread.start()
        yield f"http://localhost:{files.server_port}"
        files.shutdown()
        thread.join()
