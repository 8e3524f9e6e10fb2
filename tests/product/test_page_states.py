"""What the chat page says when something is wrong, in Chromium."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.async_api import Browser, Page, expect

from tests.conftest import StartServer
from tests.support.axe import violations
from tests.support.browser import IN_BROWSER, open_page, shoot
from tests.support.chat_page import DESKTOP, PHONE, answered, ask, box, log_in, picker
from tests.support.glimpses import glimpsed
from tests.support.live import LiveServer
from tests.support.upstream import Upstream

pytestmark = IN_BROWSER

MESSAGES = 6


@pytest.fixture(scope="module")
def environment(upstream_env: dict[str, str]) -> dict[str, str]:
    return {
        **upstream_env,
        "LLMCHAT_MESSAGES_PER_MINUTE": str(MESSAGES),
        "LLMCHAT_DRAIN_S": "0.2",
    }


@pytest.fixture(scope="module")
def server(
    start_server: StartServer, environment: dict[str, str]
) -> Iterator[LiveServer]:
    """One server for all tests; nothing that a page does may cause an exception."""
    started = start_server(env=environment)
    yield started
    assert "Traceback" not in started.log_text(), started.log


async def seen(page: Page, path: Path) -> None:
    """Check that what is shown is accessible, and keep a screenshot if asked to."""
    assert await violations(page) == []
    await shoot(page, path)


async def test_an_answer_goes_on_when_the_network_is_back(
    server: LiveServer, page_upstream: Upstream, chromium: Browser, artifacts: Path
) -> None:
    release = asyncio.Event()
    page_upstream.steps = ("Half", release, " and the rest")
    async with open_page(chromium, viewport=DESKTOP) as (page, _):
        await log_in(page, server, server.account())
        await ask(page, "A question")
        await expect(page.get_by_text("Half")).to_be_visible()
        await page.context.set_offline(True)
        await expect(page.get_by_text("You are offline.")).to_be_visible()
        await box(page).fill("Written meanwhile")
        await seen(page, artifacts / "state-offline.png")
        release.set()
        await page_upstream.answered.wait()
        async with glimpsed(page, ".connection-note", "Connected again."):
            await page.context.set_offline(False)
        await expect(page.get_by_text("Half and the rest")).to_be_visible()
        await answered(page)
        await expect(box(page)).to_have_value("Written meanwhile")
        await expect(page.get_by_text("Connected again.")).to_have_count(0)


async def test_an_error_stays_at_its_turn_until_it_is_tried_again(
    server: LiveServer, page_upstream: Upstream, chromium: Browser, artifacts: Path
) -> None:
    page_upstream.steps, page_upstream.cut = ("Half an ans",), True
    async with open_page(chromium, viewport=PHONE, color_scheme="dark") as (
        page,
        complaints,
    ):
        await log_in(page, server, server.account())
        await ask(page, "A question")
        problem = page.locator(".problem")
        await expect(problem).to_contain_text("OpenAI stopped")
        await expect(page.get_by_text("Half an ans")).to_be_visible()
        await page.reload()
        await expect(problem).to_contain_text("OpenAI stopped")
        await seen(page, artifacts / "state-error.png")

        page_upstream.steps, page_upstream.cut = ("The answer",), False
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_text("The answer")).to_be_visible()
        await expect(problem).to_have_count(0)
        await expect(page.locator(".question")).to_have_count(1)
    assert complaints == []


async def test_whoever_asks_too_often_is_told_when_to_go_on(
    server: LiveServer, page_upstream: Upstream, chromium: Browser, artifacts: Path
) -> None:
    account = server.account()
    url = f"{server.url}/llm/conversations"
    async with open_page(chromium, viewport=DESKTOP) as (page, _):
        await page.clock.install()
        await log_in(page, server, account)
        problem = page.locator(".problem")
        answer = page.locator(".answer .prose")
        while not await problem.count():  # again if a new minute has begun
            while (await page.request.post(url, data={}, headers=account.headers)).ok:
                pass
            await ask(page, "A question")
            await expect(problem.or_(answer).last).to_be_visible()
        await expect(problem).to_contain_text("Try again in")
        again = page.get_by_role("button", name="Try again")
        await expect(again).to_be_disabled()
        await seen(page, artifacts / "state-rate-limited.png")
        await page.clock.fast_forward(61_000)
        await expect(again).to_be_enabled()
        await expect(problem).not_to_contain_text("Try again in")


async def test_a_budget_that_is_used_up_is_said_with_the_day_it_renews(
    server: LiveServer, page_upstream: Upstream, chromium: Browser, artifacts: Path
) -> None:
    account = server.account()
    server.change(
        "INSERT INTO llmchat_budget"
        ' (user_id, period, unit, "limit", period_start, spent)'
        " VALUES (?, 'month', 'tokens', 10, ?, 10)",
        account.user_id,
        datetime.now(UTC).date().replace(day=1).isoformat(),
    )
    server.change("UPDATE llmchat_revision SET word = ?", uuid4().hex)
    async with open_page(chromium, viewport=DESKTOP) as (page, _):
        await log_in(page, server, account)
        await ask(page, "A question")
        problem = page.locator(".problem")
        await expect(problem).to_contain_text("Your budget is used up.")
        await expect(problem).to_contain_text("You have 10 tokens a month. It renews")
        await seen(page, artifacts / "state-budget.png")


async def test_a_missing_key_is_explained_and_who_may_add_it_is_led_to_the_admin(
    server: LiveServer, page_upstream: Upstream, chromium: Browser, artifacts: Path
) -> None:
    account = server.account()
    rights = "UPDATE accounts_user SET is_staff = ?, is_superuser = ? WHERE id = ?"
    chosen = '{"provider": "claude", "model": null}'
    async with open_page(chromium, viewport=DESKTOP) as (page, _):
        await log_in(page, server, account)
        await page.evaluate("c => localStorage.setItem('llmchat-model', c)", chosen)
        await page.reload()
        await expect(picker(page)).to_contain_text("Claude")
        await expect(page.get_by_text("Claude needs an API key")).to_be_visible()
        await ask(page, "A question")
        problem = page.locator(".problem")
        await expect(problem).to_contain_text("contact your administrator")
        await seen(page, artifacts / "state-no-key.png")

        server.change(rights, True, True, account.user_id)
        await page.reload()
        await ask(page, "A question")
        link = problem.get_by_role("link", name="Set it up in the admin")
        where = re.compile(r"^/admin/llmchat/providerkey/add/\?provider=")
        await expect(link).to_have_attribute("href", where)
        await picker(page).click()
        await page.get_by_role("menuitem", name="Gemini").click()
        await page.wait_for_url("**/admin/**")


async def test_a_slow_provider_is_said_to_be_slow(
    server: LiveServer, page_upstream: Upstream, chromium: Browser, artifacts: Path
) -> None:
    page_upstream.steps = (asyncio.Event(),)
    async with open_page(chromium, viewport=DESKTOP) as (page, _):
        await page.clock.install()
        await log_in(page, server, server.account())
        await ask(page, "A question")
        await expect(page.get_by_text("Thinking…")).to_be_visible()
        await page.clock.fast_forward(12_000)
        await expect(page.get_by_text("OpenAI is slow to answer")).to_be_visible()
        await seen(page, artifacts / "state-slow.png")
        await page.get_by_role("button", name="Stop").click()
        await expect(page.get_by_text("This answer was stopped.")).to_be_visible()


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGTERM, "The server was restarted before this answer was complete."),
        (signal.SIGKILL, "The server stopped in the middle of this answer."),
    ],
    ids=["stopped", "killed"],
)
async def test_the_page_comes_back_after_a_restart_of_the_server(
    start_server: StartServer,
    environment: dict[str, str],
    page_upstream: Upstream,
    chromium: Browser,
    artifacts: Path,
    number: signal.Signals,
    told: str,
) -> None:
    page_upstream.steps = ("Half an ans", asyncio.Event())
    server = start_server(env=environment)
    server.needs_one_process("tests/product/test_leaving.py stops one of several")
    same = environment | {"DATABASE_URL": f"sqlite:///{server.database}"}
    async with open_page(chromium, viewport=DESKTOP) as (page, _):
        await log_in(page, server, server.account())
        await ask(page, "A question")
        await expect(page.get_by_text("Half an ans")).to_be_visible()
        server.process.send_signal(number)
        await asyncio.to_thread(server.process.wait, 10)
        note = page.locator(".connection-note")
        await expect(note).to_contain_text(re.compile("restarting|Trying again"))
        await seen(page, artifacts / f"state-restart-{number.name}.png")
        async with glimpsed(page, ".connection-note", "Connected again."):
            await asyncio.to_thread(start_server, env=same, port=server.port)
        await expect(page.locator(".problem")).to_contain_text(told)
        if number is signal.SIGTERM:  # a killed server may not have stored it yet
            await expect(page.get_by_text("Half an ans")).to_be_visible()

        # The list of conversations, which has loaded again, shows no such button.
        await expect(page.get_by_role("button", name="Try again")).to_have_count(1)
        page_upstream.steps = ("The whole answer",)
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_text("The whole answer")).to_be_visible()
        await answered(page)
