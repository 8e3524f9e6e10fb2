"""Chromium for a test, and what its page had to complain of."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.async_api import Page, async_playwright, expect

from tests.support.live import ROOT

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LIMIT_MS = 60_000

expect.set_options(timeout=LIMIT_MS)
# Playwright is a program of Node's. What it compiled once need not be compiled again.
os.environ.setdefault("NODE_COMPILE_CACHE", str(ROOT / ".pytest_cache" / "node"))


@asynccontextmanager
async def open_page(
    executable: str, **context_options: Any
) -> AsyncIterator[tuple[Page, list[str]]]:
    """Open an empty page; the list collects its errors and console messages."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=executable, args=ARGUMENTS
        )
        context = await browser.new_context(**context_options)
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
        try:
            yield page, complaints
        finally:
            await browser.close()


class _QuietHandler(SimpleHTTPRequestHandler):
    """Serves files and keeps it to itself."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """Serve a folder from a port of its own, as a developer's page is; its address."""
    handler = partial(_QuietHandler, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as files:
        thread = threading.Thread(target=files.serve_forever, daemon=True)
        thread.start()
        yield f"http://localhost:{files.server_port}"
        files.shutdown()
        thread.join()
