"""An operator's day in the admin, in Chromium."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Download, Page, expect

from tests.conftest import StartServer
from tests.emulator.application import emulator
from tests.emulator.server import Emulator
from tests.support.browser import IN_BROWSER, open_page, shoot
from tests.support.live import Account, LiveServer, free_port

pytestmark = IN_BROWSER

DESKTOP = {"width": 1440, "height": 900}
CANARY = "sk-canary-live-0123456789-wxyz"
REFUSED = "sk-bad-live-0123456789-wxyz"
MARKUP = "<script>document.title = 'owned'</script> & <b>bold</b>"


@pytest.fixture(scope="module")
def emulator_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(start_server: StartServer, emulator_port: int) -> Iterator[LiveServer]:
    base_url = f"http://127.0.0.1:{emulator_port}"
    started = start_server("uvicorn", {"OPENAI_BASE_URL": base_url})
    yield started
    assert "Traceback" not in started.log_text(), started.log
    assert "canary" not in started.log_text()


@pytest_asyncio.fixture(loop_scope="session")
async def provider(emulator_port: int) -> AsyncIterator[Emulator]:
    async with emulator(emulator_port) as running:
        yield running


@pytest.fixture(scope="module")
def operator(server: LiveServer) -> Account:
    """A user who has been made a superuser."""
    return server.superuser()


def execute(server: LiveServer, statement: str, *values: Any) -> None:
    """Change the server's database behind its back."""
    connection = sqlite3.connect(server.database, timeout=10)
    with connection:
        connection.execute(statement, values)
    connection.close()


async def chat(
    server: LiveServer, account: Account, text: str, **fields: Any
) -> dict[str, Any]:
    """Ask a question over REST."""
    async with httpx.AsyncClient(timeout=60) as client:
        response = await client.post(
            f"{server.url}/llm/chat",
            headers=account.headers,
            json={
                "provider": "openai",
                "messages": [{"role": "user", "content": text}],
                **fields,
            },
        )
    answer: dict[str, Any] = response.json()
    return answer


async def log_in(page: Page, server: LiveServer, operator: Account) -> None:
    # Not on the front page, whose figures are cached for a minute.
    await page.goto(f"{server.url}/admin/llmchat/conversation/")
    await page.get_by_label("Username").fill(operator.username)
    await page.get_by_label("Password").fill(operator.password)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("link", name="Usage")).to_be_visible()


async def add_key(page: Page, server: LiveServer, value: str, name: str) -> None:
    """Fill in the form for a new key of OpenAI's."""
    await page.goto(f"{server.url}/admin/llmchat/providerkey/add/")
    await page.locator("#id_provider").select_option(label="OpenAI")
    await page.locator("#id_name").fill(name)
    await page.locator("#id_value").fill(value)


async def content_of(download: Download) -> bytes:
    """Return a file that the browser has downloaded."""
    path = await download.path()
    return await asyncio.to_thread(Path(path).read_bytes)


async def test_an_operator_s_day(
    server: LiveServer,
    operator: Account,
    provider: Emulator,
    chromium: Browser,
    artifacts: Path,
) -> None:
    user = server.account()
    async with open_page(chromium, viewport=DESKTOP, accept_downloads=True) as (
        page,
        complaints,
    ):

        async def keep(name: str) -> None:
            await shoot(page, artifacts / f"admin-{name}.png", full_page=True)

        await page.goto(f"{server.url}/admin/")
        await keep("log-in")
        await log_in(page, server, operator)

        # A key is entered and tested.
        await add_key(page, server, CANARY, "main")
        await keep("key-add")
        await page.get_by_role("button", name="Save and test").click()
        await expect(page.get_by_text("Works: ")).to_be_visible()
        await expect(page.get_by_text("sk-…wxyz").first).to_be_visible()
        await keep("key-tested")
        assert CANARY not in await page.content()
        await page.get_by_role("link", name="Providers").click()
        await page.get_by_role("link", name="OpenAI").click()
        await expect(page.get_by_text("sk-…wxyz").first).to_be_visible()
        await keep("provider")
        assert CANARY not in await page.content()

        # A user chats, at a price.
        execute(
            server,
            "UPDATE llmchat_provider SET input_price = 1000, output_price = 5000"
            " WHERE name = 'openai'",
        )
        execute(server, "DELETE FROM llmchat_revision")
        answer = await chat(server, user, "Where do lighthouses stand?")
        assert answer["fullResponse"]
        await chat(server, user, MARKUP)
        await chat(server, user, "And then?", model="scenario-cut-close")

        # The conversation is found by what was said in it, and read.
        await page.get_by_role("link", name="Conversations").click()
        await expect(page.locator("#result_list tbody tr")).to_have_count(3)
        await expect(page.locator("#searchbar")).to_be_visible()
        await keep("conversations")
        await page.locator("a", has_text="Filters").click()
        await page.locator(".select2-selection[aria-labelledby*=user]").click()
        await page.get_by_role("option", name=user.username, exact=True).click()
        await keep("filters")
        await page.get_by_role("button", name="Apply").click()
        await expect(page).to_have_url(re.compile("user__id__exact="))
        await expect(page.locator("#result_list tbody tr")).to_have_count(3)
        await page.locator("#searchbar").fill("lighthouses")
        await page.locator("#searchbar").press("Enter")
        await expect(page.locator("#result_list tbody tr")).to_have_count(1)
        await page.get_by_role("link", name="Where do lighthouses stand?").first.click()
        await expect(page.locator(".llm-assistant .llm-text")).to_have_text(
            answer["fullResponse"]
        )
        await keep("conversation")

        # The conversation is exported.
        async with page.expect_download() as download:
            await page.get_by_role("link", name="Export JSON").click()
        exported = json.loads(await content_of(await download.value))
        (conversation,) = exported["conversations"]
        assert [row["role"] for row in conversation["messages"]] == [
            "user",
            "assistant",
        ]
        assert conversation["messages"][1]["content"] == answer["fullResponse"]
        await page.goto(f"{server.url}/admin/accounts/user/{user.user_id}/change/")
        await keep("user")
        async with page.expect_download() as download:
            await page.get_by_role("link", name="Export CSV").click()
        text = (await content_of(await download.value)).decode("utf-8-sig")
        assert len(list(csv.DictReader(io.StringIO(text, newline="")))) == 6

        # Markup is text.
        await page.goto(f"{server.url}/admin/llmchat/conversation/?q=document.title")
        await page.locator("#result_list tbody tr a").first.click()
        await expect(page.locator(".llm-user .llm-text")).to_have_text(MARKUP)
        assert await page.title() != "owned"

        # The usage is in the charts.
        await page.get_by_role("link", name="Usage").click()
        await expect(page.locator("canvas.chart")).to_have_count(2)
        await expect(page.locator(".llm-figure").first).to_contain_text("3")
        await page.wait_for_function("Object.keys(Chart.instances).length == 2")
        await keep("front")
    assert complaints == []


async def test_a_stream_is_stopped(
    server: LiveServer,
    operator: Account,
    provider: Emulator,
    chromium: Browser,
    artifacts: Path,
) -> None:
    user = server.account()
    async with open_page(chromium, viewport=DESKTOP) as (page, complaints):
        await log_in(page, server, operator)
        await add_key(page, server, CANARY, "for streams")
        await page.get_by_role("button", name="Save", exact=True).click()
        asked = asyncio.create_task(
            chat(server, user, "Count!", model="scenario-endless")
        )
        await server.rows_soon(
            "SELECT 1 FROM llmchat_piece JOIN llmchat_message"
            " ON message_id = llmchat_message.id WHERE state = 'streaming' LIMIT 1",
            count=1,
        )
        await page.get_by_role("link", name="Streaming now").click()
        await expect(page.locator("#result_list tbody tr")).to_have_count(1)
        await shoot(page, artifacts / "admin-streaming.png", full_page=True)
        # The page that answers the button must be there before it is reloaded.
        async with page.expect_navigation():
            await page.get_by_role("button", name="Stop").click()

        answer = await asyncio.wait_for(asked, 20)
        assert answer["code"] == "cancelled"
        await page.reload()
        await expect(page.locator("#result_list tbody tr")).to_have_count(0)
        await shoot(page, artifacts / "admin-stopped.png", full_page=True)
    ((state,),) = server.rows(
        "SELECT state FROM llmchat_message WHERE user_id = ? AND role = 'assistant'",
        user.user_id,
    )
    assert state == "cancelled"
    assert complaints == []


async def test_a_refused_key_is_told_in_words_and_on_the_front_page(
    server: LiveServer,
    operator: Account,
    provider: Emulator,
    chromium: Browser,
    artifacts: Path,
) -> None:
    dark: Mapping[str, Any] = {"viewport": DESKTOP, "color_scheme": "dark"}
    async with open_page(chromium, **dark) as (page, complaints):
        await log_in(page, server, operator)
        await add_key(page, server, REFUSED, "old")
        await page.get_by_role("button", name="Save and test").click()
        await expect(
            page.get_by_text(re.compile("refused the API key"))
        ).to_be_visible()
        await shoot(page, artifacts / "admin-key-refused.png", full_page=True)
        await page.goto(f"{server.url}/admin/")
        await expect(page.get_by_role("alert")).to_contain_text("provider_auth")
        await shoot(page, artifacts / "admin-front-dark.png", full_page=True)
        assert REFUSED not in await page.content()
    assert complaints == []
