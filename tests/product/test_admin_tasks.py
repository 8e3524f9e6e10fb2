"""How many clicks an operator needs to answer a question, from the front page.

Typing where the cursor already is, or after a keyboard shortcut, is no click.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.conftest import StartServer
from tests.support.admin_hand import Hand, front_page
from tests.support.browser import IN_BROWSER
from tests.support.live import ROOT, LiveServer, environment

pytestmark = IN_BROWSER


@pytest.fixture(scope="module")
def server(start_server: StartServer) -> Iterator[LiveServer]:
    started = start_server("uvicorn")
    subprocess.run(
        [sys.executable, "-m", "tests.support.admin_seed"],
        env=environment(started.database),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    yield started
    assert "Traceback" not in started.log_text(), started.log


@pytest_asyncio.fixture(loop_scope="session")
async def page(server: LiveServer, chromium: Browser) -> AsyncIterator[Page]:
    """The front page, for a superuser."""
    operator = server.superuser()
    async with front_page(chromium, server, operator) as opened:
        yield opened


async def test_a_conversation_is_found_and_read_with_two_clicks(page: Page) -> None:
    hand = Hand()
    await hand.click(page.get_by_role("link", name="Conversations").first)
    await expect(page.locator("#searchbar")).to_be_visible()
    await page.keyboard.press("/")
    await page.keyboard.type("named_at_length")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile("q=named_at_length"))
    await expect(page.locator("#result_list tbody tr")).to_have_count(1)
    excerpt = page.locator(".llm-found")
    await expect(excerpt).to_contain_text("named_at_length")
    await hand.click(excerpt)
    await expect(page.locator(".llm-assistant .llm-text")).to_contain_text("A title")
    assert hand.clicks == 2


async def test_why_an_answer_was_cut_is_told_with_two_clicks(page: Page) -> None:
    hand = Hand()
    number = page.locator(".llm-figure", has_text="Cut off (length)").get_by_role(
        "link"
    )
    await expect(number).to_have_text("1")
    await hand.click(number)
    await expect(page.locator("#result_list tbody tr")).to_have_count(1)
    await hand.click(page.locator("#result_list tbody tr").get_by_role("link").first)
    await expect(page.get_by_text("cut off (length)")).to_be_visible()
    told = page.get_by_text("reached the token limit after 300 output tokens.")
    await expect(told).to_be_visible()
    assert hand.clicks == 2


async def test_who_spends_most_is_told_with_one_click(page: Page) -> None:
    hand = Hand()
    await hand.click(page.get_by_role("link", name="30 days"))
    top = page.locator("tr", has=page.get_by_role("link", name="user0"))
    await expect(top).to_contain_text("$1.00")
    await expect(top).to_be_in_viewport()
    assert hand.clicks == 1


async def test_a_stream_is_stopped_with_two_clicks(page: Page) -> None:
    hand = Hand()
    await hand.click(page.get_by_role("link", name="Streaming now").first)
    await hand.click(page.get_by_role("button", name="Stop"))
    await expect(page.get_by_text("Stopping 1 answer.")).to_be_visible()
    await expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    assert hand.clicks == 2


async def test_a_user_gets_a_budget_with_four_clicks(
    page: Page, server: LiveServer
) -> None:
    hand = Hand()
    await hand.click(page.get_by_role("link", name="Users"))
    await hand.click(page.get_by_role("link", name="user1").first)
    await hand.type(page.locator("#id_budgets-0-limit"), "75000")
    await hand.click(page.get_by_role("button", name="Save", exact=True))
    await expect(page.get_by_text("was changed successfully")).to_be_visible()
    assert hand.clicks == 4
    rows = server.rows(
        'SELECT period, unit, "limit" FROM llmchat_budget JOIN accounts_user'
        " ON user_id = accounts_user.id WHERE username = 'user1'"
    )
    assert rows == [("day", "tokens", 75000)]
