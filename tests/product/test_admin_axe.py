"""Pages of the admin, one of each kind: none breaks axe-core's rules or is too wide."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Browser, Page, expect

from tests.conftest import StartServer
from tests.emulator.application import emulator
from tests.support.axe import violations
from tests.support.browser import IN_BROWSER, open_page
from tests.support.live import ROOT, LiveServer, environment, free_port

pytestmark = IN_BROWSER

WIDTHS = (1280, 1024, 768, 390)
# The rules whose result can differ in the dark and in a narrow window. The results of
# the others are the same, and so are the colors of pages that show nothing of our own.
OF_THE_LOOK = ("color-contrast", "link-in-text-block", "scrollable-region-focusable")
OWN_COLOURS = ".llm-notices, .llm-facts, .llm-chat, .llm-progress, .llm-key, .llm-found"


@pytest.fixture(scope="module")
def openai_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(start_server: StartServer, openai_port: int) -> Iterator[LiveServer]:
    address = f"http://127.0.0.1:{openai_port}"
    started = start_server("uvicorn", {"OPENAI_BASE_URL": address})
    yield started
    assert "Traceback" not in started.log_text(), started.log


@pytest.fixture(scope="module")
def pages(server: LiveServer) -> list[str]:
    """The addresses of the pages, each of which has something to show."""
    filled = subprocess.run(
        [sys.executable, "-m", "tests.support.admin_seed"],
        env=environment(server.database),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    found: list[str] = json.loads(filled.stdout)
    return found


async def looked_at(page: Page) -> AsyncIterator[str]:
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


@pytest.mark.timeout(300)  # it looks at all of them, one after the other
async def test_no_page_of_the_admin_breaks_a_rule_of_axe_or_is_too_wide(
    server: LiveServer, pages: list[str], openai_port: int, chromium: Browser
) -> None:
    operator = server.account()
    server.change(
        "UPDATE accounts_user SET is_staff = 1, is_superuser = 1 WHERE id = ?",
        operator.user_id,
    )
    wrong: dict[str, list[str]] = {}
    async with open_page(chromium) as (page, complaints):

        async def look(name: str) -> None:
            found = [text async for text in looked_at(page)]
            if found:
                wrong[name] = found

        await page.goto(f"{server.url}/admin/")
        await page.get_by_label("Username").fill(operator.username)
        await page.get_by_label("Password").fill("not it")
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_text("Incorrect username or password")).to_be_visible()
        await look("log-in")
        await page.get_by_label("Password").fill(operator.password)
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_text("Usage").first).to_be_attached()
        for address in pages:
            answer = await page.goto(f"{server.url}{address}")
            assert answer is not None
            assert answer.status == 200, address
            await look(address)

        # Pages that answer a button.
        provider = next(url for url in pages if "/provider/" in url and "change" in url)
        async with emulator(openai_port):
            await page.set_viewport_size({"width": WIDTHS[0], "height": 900})
            await page.goto(f"{server.url}{provider}")
            await page.get_by_role("button", name="Save and test").click()
            await expect(page.get_by_text("Works: ")).to_be_visible()
            await look("tested")
        await page.set_viewport_size({"width": WIDTHS[0], "height": 900})
        await page.goto(f"{server.url}/admin/llmchat/message/")
        await page.locator("a", has_text="Filters").click()
        await expect(page.get_by_role("button", name="Apply")).to_be_visible()
        await look("filters")
        await page.set_viewport_size({"width": WIDTHS[0], "height": 900})
        await page.goto(f"{server.url}/admin/accounts/apikey/add/")
        await page.locator(".select2-selection").click()
        await page.get_by_role("option", name="user0", exact=True).click()
        await page.get_by_label("Name").fill("For a look")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_text("Copy it now")).to_be_visible()
        await look("an issued key")
        await page.set_viewport_size({"width": WIDTHS[0], "height": 900})
        await page.goto(f"{server.url}/admin/llmchat/budget/add/")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_text("Choose one user, one group")).to_be_visible()
        await look("faults of a form")
        assert complaints == []
    assert wrong == {}
