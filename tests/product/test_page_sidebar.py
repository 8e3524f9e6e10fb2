"""The list of conversations on the chat page, in Chromium."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.conftest import ONE_SERVER
from tests.support.axe import violations
from tests.support.browser import IN_BROWSER, MOTION, open_page, shoot
from tests.support.chat_page import (
    DESKTOP,
    PHONE,
    answered,
    ask,
    box,
    from_menu,
    log_in,
    row,
    title,
)
from tests.support.live import Account, LiveServer
from tests.support.upstream import Upstream

pytestmark = [ONE_SERVER, *IN_BROWSER]


@pytest.fixture(scope="module")
def server_env(upstream_env: dict[str, str]) -> dict[str, str]:
    return upstream_env | {"LLMCHAT_MESSAGES_PER_MINUTE": "0"}


async def new_chat(page: Page) -> None:
    await page.get_by_role("button", name="New chat").click()


async def make_conversations(
    page: Page, server: LiveServer, account: Account, *titles: str
) -> None:
    """Make empty conversations over REST; the last one is the newest."""
    url = f"{server.url}/llm/conversations"
    for name in titles:
        made = await page.request.post(
            url, data={"title": name}, headers=account.headers
        )
        assert made.ok


async def test_answers_go_on_while_another_chat_is_shown(
    server: LiveServer, page_upstream: Upstream, chromium: Browser, artifacts: Path
) -> None:
    release = asyncio.Event()
    async with open_page(chromium, viewport=DESKTOP) as (page, complaints):
        await log_in(page, server, server.account())
        page_upstream.steps = ("First half", release, " and the rest")
        await ask(page, "Number one")
        await expect(page.get_by_text("First half")).to_be_visible()
        await new_chat(page)
        await expect(page.get_by_text("First half")).to_have_count(0)
        page_upstream.steps = ("Two half", asyncio.Event())
        await ask(page, "Number two")
        await expect(page.get_by_text("Two half")).to_be_visible()
        for name in ("Number one", "Number two"):
            await expect(row(page, name)).to_contain_text("is being answered")
        assert await violations(page) == []

        release.set()
        await expect(row(page, "Number one")).to_contain_text("new answer")
        await shoot(page, artifacts / "sidebar-marks.png")
        await row(page, "Number one").click()
        await expect(page.get_by_text("First half and the rest")).to_be_visible()
        await expect(row(page, "Number one")).not_to_contain_text("new answer")

        await page.go_back()
        await expect(page.get_by_text("Two half")).to_be_visible()
        await expect(page.get_by_role("button", name="Stop")).to_be_visible()
        await page.go_forward()
        await expect(title(page)).to_have_text("Number one")
    assert complaints == []


async def test_conversations_are_renamed_searched_and_deleted(
    server: LiveServer, page_upstream: Upstream, chromium: Browser, artifacts: Path
) -> None:
    account = server.account()
    async with open_page(chromium, viewport=DESKTOP) as (page, complaints):
        await make_conversations(page, server, account, "Apples", "Pears", "Plums")
        await log_in(page, server, account)
        await row(page, "Apples").click()
        await from_menu(page, "Apples", "Rename")
        box_of_title = page.get_by_label("New title")
        await expect(box_of_title).to_be_focused()
        await box_of_title.fill("Quinces")
        await box_of_title.press("Enter")
        await expect(title(page)).to_have_text("Quinces")

        await page.keyboard.press("Control+k")
        await page.keyboard.type("plum")
        await expect(row(page, "Pears")).to_have_count(0)
        await expect(row(page, "Plums")).to_be_visible()
        await page.keyboard.press("Escape")

        await from_menu(page, "Quinces", "Delete")
        undo = page.get_by_role("button", name="Undo")
        await undo.hover()  # keeps the notice on the page
        await expect(row(page, "Quinces")).to_have_count(0)
        await expect(title(page)).to_have_text("New chat")
        assert await violations(page) == []
        await shoot(page, artifacts / "sidebar-undo.png")
        await undo.click()
        await expect(title(page)).to_have_text("Quinces")

        await from_menu(page, "Pears", "Delete")
        await page.reload()  # leaves no time to undo it
        await expect(row(page, "Quinces")).to_be_visible()
        await expect(row(page, "Pears")).to_have_count(0)
    assert complaints == []
    titles = "SELECT title FROM llmchat_conversation WHERE user_id = ? ORDER BY title"
    assert server.rows(titles, account.user_id) == [("Plums",), ("Quinces",)]


async def test_older_conversations_come_as_the_list_is_read(
    server: LiveServer, page_upstream: Upstream, chromium: Browser
) -> None:
    account = server.account()
    async with open_page(chromium, viewport=DESKTOP) as (page, _):
        numbers = [f"Chat {n:02}" for n in range(70)]
        await make_conversations(page, server, account, *numbers)
        await log_in(page, server, account)
        await expect(row(page, "Chat 69")).to_be_visible()
        await expect(row(page, "Chat 00")).to_have_count(0)
        await row(page, "Chat 25").hover()
        await page.mouse.wheel(0, 5000)
        await expect(row(page, "Chat 00")).to_have_count(1)


async def test_a_conversation_is_downloaded(
    server: LiveServer, page_upstream: Upstream, chromium: Browser
) -> None:
    async with open_page(chromium, viewport=DESKTOP) as (page, _):
        await log_in(page, server, server.account())
        await ask(page, "A question")
        await answered(page)
        async with page.expect_download() as download:
            await from_menu(page, "A question", "Download as Markdown")
        path = await (await download.value).path()
        assert "Hello" in path.read_text()


async def test_drafts_stay_with_their_conversations(
    server: LiveServer, page_upstream: Upstream, chromium: Browser, artifacts: Path
) -> None:
    account = server.account()
    # The drawer slides in below the finger.
    phone = {"viewport": PHONE, **MOTION}
    async with open_page(chromium, **phone) as (page, complaints):
        await make_conversations(page, server, account, "Apples", "Pears")
        await log_in(page, server, account)
        for name in ("Apples", "Pears"):
            await page.get_by_role("button", name="Show conversations").click()
            if name == "Apples":
                assert await violations(page) == []
                await shoot(page, artifacts / "sidebar-phone.png")
            await row(page, name).click()
            await expect(title(page)).to_have_text(name)
            await box(page).fill(f"About {name}")
        await page.go_back()
        await expect(box(page)).to_have_value("About Apples")
        await page.reload()
        await expect(box(page)).to_have_value("About Apples")
    assert complaints == []
