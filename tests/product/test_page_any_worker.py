"""The chat page behind a balancer that sends each request to another worker."""

from __future__ import annotations

import asyncio
import re

from playwright.async_api import Browser, Page, expect

from tests.proxy import Proxy
from tests.support.browser import IN_BROWSER, open_page
from tests.support.chat_page import DESKTOP, answered, ask, log_in
from tests.support.two_workers import Pair, pair
from tests.support.upstream import Upstream

__all__ = ["pair"]

pytestmark = IN_BROWSER

TEXT = [f"Sentence {n} of the answer.\n\n" for n in range(6)]


async def sentences(page: Page) -> list[int]:
    """Return which sentences of the answer are shown."""
    shown = await page.locator(".answer").last.inner_text()
    return [int(number) for number in re.findall(r"Sentence (\d)", shown)]


async def test_an_answer_is_shown_by_any_worker_and_stopped_from_any_tab(
    pair: Pair, page_upstream: Upstream, chromium: Browser
) -> None:
    releases = [asyncio.Event() for _ in TEXT]
    page_upstream.steps = tuple(
        step
        for pause, text in zip(releases, TEXT, strict=True)
        for step in (pause, text)
    )
    account = next(pair.accounts)
    ports = [pair.a.port, pair.b.port]
    async with (
        Proxy(ports) as proxy,
        open_page(chromium, viewport=DESKTOP) as (page, complaints),
    ):
        await log_in(page, proxy, account)
        await ask(page, "Six sentences, please")
        releases[0].set()
        await expect(page.get_by_text("Sentence 0")).to_be_visible()
        await expect(page).to_have_url(re.compile(r"/c/[0-9a-f-]{36}$"))

        # One of these is not the worker that writes the answer.
        for number, port in enumerate(ports, 1):
            proxy.workers = [port]
            await page.reload()
            await expect(page.get_by_role("button", name="Stop")).to_be_visible()
            await expect(page.get_by_text(f"Sentence {number - 1}")).to_be_visible()
            releases[number].set()
            await expect(page.get_by_text(f"Sentence {number}")).to_be_visible()
            assert await sentences(page) == list(range(number + 1))

        proxy.workers = ports
        other = await page.context.new_page()
        await other.goto(page.url)
        tabs = [page, other]
        releases[3].set()
        for tab in tabs:
            await expect(tab.get_by_text("Sentence 3")).to_be_visible()
        await other.get_by_role("button", name="Stop").click()
        for tab in tabs:
            await expect(tab.get_by_text("This answer was stopped.")).to_be_visible()
            assert await sentences(tab) == [0, 1, 2, 3]
        await page_upstream.hung_up.wait()

        page_upstream.steps = ("Whole again",)
        await ask(page, "And now?")
        await answered(page, 2)
    assert complaints == []
