"""The product's own page in Chromium, with the embedded model behind it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.async_api import Page, expect

from tests.conftest import StartServer
from tests.support.browser import open_page
from tests.support.live import Account, LiveServer

pytestmark = pytest.mark.browser

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
LONG_TASK = "Tell me a long story about a lighthouse keeper and his dog."


async def log_in(page: Page, server: LiveServer, account: Account) -> None:
    """Log in and wait for the chat."""
    await page.goto(server.url)
    await page.get_by_label("User name").fill(account.username)
    await page.get_by_label("Password").fill(account.password)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("status")).to_have_text("Connected")


async def ask(page: Page, text: str) -> None:
    """Send a message with the Enter key, once the page would take it."""
    await page.get_by_label("Message", exact=True).fill(text)
    await expect(page.get_by_role("button", name="Send")).to_be_enabled()
    await page.get_by_label("Message", exact=True).press("Enter")


@contextmanager
def short_answers(server: LiveServer) -> Iterator[None]:
    """Let the embedded model, which likes to talk, answer in a few words."""

    def limit(tokens: int) -> None:
        server.change(
            "UPDATE llmchat_provider SET max_output_tokens = ? WHERE name = 'local'",
            tokens,
        )
        server.change("UPDATE llmchat_revision SET word = ?", uuid4().hex)

    query = "SELECT max_output_tokens FROM llmchat_provider WHERE name = 'local'"
    ((before,),) = server.rows(query)
    limit(40)
    yield
    limit(before)


async def test_chat_streams_stops_and_keeps_its_history(
    server: LiveServer, chromium_path: str, artifacts: Path
) -> None:
    account = server.account()
    async with open_page(chromium_path, viewport=DESKTOP) as (page, complaints):
        await log_in(page, server, account)
        await expect(page.get_by_label("Provider")).to_have_value("local")

        await ask(page, LONG_TASK)
        await expect(page.get_by_text("Writing…")).to_be_visible()
        await page.screenshot(path=artifacts / f"page-{server.kind}-streaming.png")
        await page.get_by_role("button", name="Stop").click()
        await expect(page.get_by_role("button", name="Send")).to_be_visible()

        with short_answers(server):
            await ask(page, "Hi!")
            await expect(page.locator(".message")).to_have_count(4)
            await expect(page.get_by_role("button", name="Send")).to_be_visible()
        await page.screenshot(path=artifacts / f"page-{server.kind}-done.png")
        shown = await page.locator(".message .text").all_text_contents()
    assert complaints == []
    stored = server.rows(
        "SELECT content, state FROM llmchat_message"
        " WHERE user_id = ? ORDER BY position",
        account.user_id,
    )
    assert [content for content, _ in stored] == shown
    assert [state for _, state in stored] == [
        "complete",
        "cancelled",
        "complete",
        "complete",
    ]


async def test_errors_are_shown_in_the_server_s_words(
    server: LiveServer, chromium_path: str, artifacts: Path
) -> None:
    async with open_page(chromium_path, viewport=PHONE, color_scheme="dark") as (
        page,
        complaints,
    ):
        await log_in(page, server, server.account())
        await page.get_by_label("Provider").select_option(label="OpenAI (no key)")
        await ask(page, "Hi!")
        await expect(page.get_by_role("alert")).to_have_text(
            "OpenAI API key not configured"
        )
        await page.screenshot(path=artifacts / f"page-{server.kind}-error.png")

        await page.get_by_label("Provider").select_option("local")
        await ask(page, "Hi again!")
        await expect(page.locator(".message.assistant")).to_have_count(1)
        await expect(page.get_by_role("button", name="Send")).to_be_visible()
        # The error stays where it was.
        alert = page.locator(".message.user + [role=alert] + .message.user")
        await expect(alert).to_have_count(1)
    assert complaints == []


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGTERM, "The server is restarting"),
        (signal.SIGKILL, "broke off"),
    ],
    ids=["stopped", "killed"],
)
async def test_page_comes_back_after_a_restart_of_the_server(
    start_server: StartServer,
    chromium_path: str,
    number: signal.Signals,
    told: str,
) -> None:
    server = start_server(env={"LLMCHAT_DRAIN_S": "0.2"})
    async with open_page(chromium_path) as (page, _):
        await log_in(page, server, server.account())
        await ask(page, LONG_TASK)
        await expect(page.get_by_text("Writing…")).to_be_visible()
        server.process.send_signal(number)
        await asyncio.to_thread(server.process.wait, 10)
        await expect(page.get_by_role("status")).to_contain_text("Disconnected")
        await asyncio.to_thread(start_server, port=server.port)
        await expect(page.get_by_role("status")).to_have_text("Connected")
        await expect(page.get_by_role("alert")).to_contain_text(told)

        await ask(page, "Hi!")
        await expect(page.locator(".message")).to_have_count(4)
        await expect(page.get_by_role("button", name="Send")).to_be_visible()
        await expect(page.get_by_role("alert")).to_have_count(1)


async def test_markup_is_shown_as_text(server: LiveServer, chromium_path: str) -> None:
    markup = "<img src=x onerror=alert(1)><b>bold</b>"
    async with open_page(chromium_path) as (page, complaints):
        await log_in(page, server, server.account())
        await ask(page, markup)
        await expect(page.locator(".message.user")).to_contain_text(markup)
        await expect(page.locator(".messages img, .messages b")).to_have_count(0)
    assert complaints == []
