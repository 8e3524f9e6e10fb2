"""The guide's unchanged React hook and component, built with Vite, in Chromium.

They are served from a port of their own, as a developer's page is, and know four
providers, the first of which is a local upstream here.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.conftest import ONE_SERVER
from tests.support.browser import IN_BROWSER, open_page, served, shoot
from tests.support.live import Account, LiveServer

pytestmark = [ONE_SERVER, *IN_BROWSER]

JS = Path(__file__).parents[1] / "js"
SHORT, LONG = 24, 400  # tokens
LONG_TASK = "Tell me a long story about a lighthouse keeper and his dog."


@pytest.fixture(scope="module")
def server_env(upstream_url: str) -> Mapping[str, str]:
    """OpenAI is a local upstream, which accepts any key.

    Debug is on, because it lets in a page that is on a port of its own.
    """
    return {
        "OPENAI_BASE_URL": upstream_url,
        "OPENAI_API_KEY": "sk-any-key-at-all",
        "DJANGO_DEBUG": "1",
    }


@pytest.fixture(scope="module")
def documented_page(
    server: LiveServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Build the documented code for the server under test and serve it."""
    server.limit_answers("openai", SHORT)
    directory = tmp_path_factory.mktemp("guide-react")
    subprocess.run(
        ["node_modules/.bin/vite", "build", "--config", "guide-react/vite.config.mjs"],
        cwd=JS,
        env={
            **os.environ,
            "LLMCHAT_URL": server.url,
            "LLMCHAT_OUT_DIR": str(directory),
        },
        stdout=subprocess.DEVNULL,
        check=True,
    )
    with served(directory) as url:
        yield url


async def open_chat(page: Page, url: str, account: Account) -> None:
    """Open the documented component as a logged-in user."""
    await page.add_init_script(f"localStorage.setItem('jwt_token', '{account.access}')")
    async with page.expect_console_message(
        lambda message: message.text == "WebSocket connected"
    ):
        await page.goto(url)


async def send(page: Page, text: str, provider: str = "openai") -> None:
    """Ask with the component's own controls."""
    await page.get_by_role("combobox").select_option(provider)
    await page.get_by_placeholder("Type your message...").fill(text)
    await page.get_by_role("button", name="Send").click()


def answers(page: Page) -> Any:
    """Return the finished answers that the component shows."""
    return page.locator(".message.assistant:not(.streaming)")


async def test_documented_component_chats(
    server: LiveServer, documented_page: str, chromium: Browser, artifacts: Path
) -> None:
    account = server.account()
    async with open_page(chromium) as (page, complaints):
        await open_chat(page, documented_page, account)
        for turn, text in enumerate(("Hi!", "What is Bitcoin?"), start=1):
            await send(page, text)
            await expect(page.get_by_text("🟢 Connected")).to_be_visible()
            await expect(answers(page)).to_have_count(turn)
            await expect(page.get_by_role("button", name="Send")).to_be_visible()
        await shoot(page, artifacts / f"guide-{server.kind}-chat.png")
        shown = await page.locator(".message").all_text_contents()
    assert complaints == []
    rows = server.rows(
        "SELECT conversation_id, role, content, state FROM llmchat_message"
        " WHERE user_id = ? ORDER BY position",
        account.user_id,
    )
    assert len({conversation for conversation, *_ in rows}) == 1
    assert [f"{role}: {content}" for _, role, content, _ in rows] == shown
    assert {state for *_, state in rows} == {"complete"}


async def test_documented_component_cancels(
    server: LiveServer, documented_page: str, chromium: Browser, artifacts: Path
) -> None:
    account = server.account()
    async with open_page(chromium) as (page, complaints):
        await open_chat(page, documented_page, account)
        server.limit_answers("openai", LONG)
        await send(page, LONG_TASK)
        streaming = page.locator(".message.streaming")
        # A real model writes it, which may say anything.
        await expect(streaming).to_have_text(re.compile(r"^assistant: .{40}", re.S))
        await shoot(page, artifacts / f"guide-{server.kind}-streaming.png")
        await page.get_by_role("button", name="Cancel").click()
        await expect(streaming).to_have_count(0)
        await expect(answers(page)).to_have_count(1)
        shown = await answers(page).text_content()

        server.limit_answers("openai", SHORT)
        # The next turn's history has the cancelled answer, and is still recognized.
        await send(page, "Thank you.")
        await expect(answers(page)).to_have_count(2)
        await expect(page.get_by_role("button", name="Send")).to_be_visible()
    assert complaints == []
    rows = server.rows(
        "SELECT DISTINCT conversation_id FROM llmchat_message WHERE user_id = ?",
        account.user_id,
    )
    assert len(rows) == 1
    assert server.rows(
        "SELECT 'assistant: ' || content FROM llmchat_message"
        " WHERE user_id = ? AND state = 'cancelled'",
        account.user_id,
    ) == [(shown,)]


async def test_documented_component_shows_errors(
    server: LiveServer, documented_page: str, chromium: Browser, artifacts: Path
) -> None:
    account = server.account()
    async with open_page(chromium) as (page, _):
        await open_chat(page, documented_page, account)
        await send(page, "Hi!", provider="claude")
        await expect(page.locator(".error")).to_have_text(
            "Error: Claude API key not configured"
        )
        await shoot(page, artifacts / f"guide-{server.kind}-error.png")
        await send(page, "Hi again!")
        await expect(answers(page)).to_have_count(1)
        await expect(page.locator(".error")).to_have_count(0)
