"""An operator in a browser who counts their clicks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Locator, Page, expect

from tests.support.browser import open_page
from tests.support.live import Account, LiveServer


class Hand:
    """Clicks and counts the clicks; it clicks a field before it types into it."""

    def __init__(self) -> None:
        self.clicks = 0

    async def click(self, target: Locator) -> None:
        self.clicks += 1
        await target.click()

    async def type(self, target: Locator, text: str) -> None:
        await self.click(target)
        await target.fill(text)


@asynccontextmanager
async def front_page(
    chromium: Browser, server: LiveServer, operator: Account
) -> AsyncIterator[Page]:
    """Open the admin's front page for an operator who has logged in."""
    async with open_page(chromium) as (page, complaints):
        await page.goto(f"{server.url}/admin/")
        await page.get_by_label("Username").fill(operator.username)
        await page.get_by_label("Password").fill(operator.password)
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("link", name="Usage")).to_be_visible()
        yield page
        assert complaints == []
