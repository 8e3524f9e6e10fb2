"""What is wrong with how pages of the admin look, seen by an operator."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Page, expect

from tests.support.axe import violations
from tests.support.browser import open_page
from tests.support.live import ROOT, LiveServer, environment

WIDTHS = (1280, 1024, 768, 390)
# The rules whose result can differ in the dark and in a narrow window. The results of
# the others are the same, and so are the colors of pages that show nothing of our own.
OF_THE_LOOK = ("color-contrast", "link-in-text-block", "scrollable-region-focusable")
OWN_COLOURS = ".llm-notices, .llm-facts, .llm-chat, .llm-progress, .llm-key, .llm-found"


def filled(server: LiveServer) -> dict[str, list[str]]:
    """Store something for each page to show; return the addresses of each kind."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.admin_seed"],
        env=environment(server.database),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


class Looker:
    """An operator who looks at pages, and notes what is wrong with them."""

    def __init__(self, server: LiveServer, page: Page) -> None:
        self.page = page
        self.operator = server.superuser()
        self.wrong: dict[str, list[str]] = {}
        self._url = server.url

    async def log_in(self) -> None:
        """Log in where the page asks for it."""
        await self.page.get_by_label("Username").fill(self.operator.username)
        await self.page.get_by_label("Password").fill(self.operator.password)
        await self.page.get_by_role("button", name="Log in").click()
        await expect(self.page.get_by_text("Usage").first).to_be_attached()

    async def open(self, address: str) -> None:
        """Open a page in a wide window."""
        await self.page.set_viewport_size({"width": WIDTHS[0], "height": 900})
        answer = await self.page.goto(f"{self._url}{address}")
        assert answer is not None
        assert answer.status == 200, address

    async def look_at(self, addresses: list[str]) -> None:
        """Open pages, and note what is wrong with them."""
        for address in addresses:
            await self.open(address)
            await self.look(address)

    async def look(self, name: str) -> None:
        """Note what is wrong with the page as it is."""
        if found := [text async for text in _looked_at(self.page)]:
            self.wrong[name] = found


@asynccontextmanager
async def looking(chromium: Browser, server: LiveServer) -> AsyncIterator[Looker]:
    """Open the admin, and assert at the end that nothing was wrong with its pages."""
    async with open_page(chromium) as (page, complaints):
        looker = Looker(server, page)
        await looker.open("/admin/")
        yield looker
        assert complaints == []
    assert looker.wrong == {}


async def _looked_at(page: Page) -> AsyncIterator[str]:
    """Yield what is wrong with the page, light on a desktop and dark on a phone."""
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 900})
        real = await page.evaluate("document.documentElement.scrollWidth")
        if real > width:
            yield f"{real} px wide in {width}"
        if width == WIDTHS[0]:
            for found in await violations(page):
                yield found
    if not await page.locator(OWN_COLOURS).count():
        return
    await page.evaluate("document.documentElement.classList.add('dark')")
    for found in await violations(page, only=OF_THE_LOOK):
        yield f"dark, narrow: {found}"
