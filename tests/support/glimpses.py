"""What a page shows for a moment only: a busy machine may look too late to see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Page

LIMIT_S = 60.0
WATCH = """([selector, text]) => {
  const name = (found) => found.getAttribute("aria-label") ?? found.textContent;
  const isShown = () =>
    [...document.querySelectorAll(selector)].some(
      (found) => found.checkVisibility() && name(found).includes(text),
    );
  window.seen = new Promise((resolve) => {
    const observer = new MutationObserver(() => isShown() && resolve(true));
    const all = { subtree: true, childList: true, characterData: true };
    observer.observe(document.body, { ...all, attributes: true });
  });
}"""


@asynccontextmanager
async def glimpsed(page: Page, selector: str, text: str) -> AsyncIterator[None]:
    """Wait at the end until such an element has been shown since the start."""
    await page.evaluate(WATCH, [selector, text])
    yield
    async with asyncio.timeout(LIMIT_S):
        assert await page.evaluate("window.seen")
