"""A conversation on the chat page, in Chromium, with a scripted provider."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, CDPSession, Page, expect

from tests.conftest import ONE_SERVER
from tests.support.axe import violations
from tests.support.browser import IN_BROWSER, MOTION, open_page, shoot
from tests.support.chat_page import (
    DESKTOP,
    PHONE,
    answered,
    ask,
    box,
    log_in,
    picker,
    title,
)
from tests.support.glimpses import glimpsed
from tests.support.live import LiveServer
from tests.support.upstream import Upstream

pytestmark = [ONE_SERVER, *IN_BROWSER]

ANSWER = """\
# Why the sky is blue

Short waves are **scattered** more, by $1/\\lambda^4$:

| colour | scattered |
|---|---:|
| blue | 5.8 |
| red | 1 |

```python
def scattered(wavelength: float) -> float:
    return 1 / wavelength**4
```

> In the evening the way through the air is longer.
"""
FIRST, REST = ANSWER[:60], ANSWER[60:]
# The processor time of a frame, at 60 frames a second.
FRAME_MS = 16.0


@pytest.fixture(scope="module")
def server_env(upstream_env: dict[str, str]) -> dict[str, str]:
    return upstream_env | {"LLMCHAT_MESSAGES_PER_MINUTE": "0"}


async def test_an_answer_goes_on_after_a_reload(
    server: LiveServer, page_upstream: Upstream, chromium: Browser, artifacts: Path
) -> None:
    release = asyncio.Event()
    page_upstream.steps = (FIRST, release, REST)
    async with open_page(
        chromium,
        viewport=DESKTOP,
        permissions=["clipboard-read", "clipboard-write"],
    ) as (page, complaints):
        await log_in(page, server, server.account())
        await expect(box(page)).to_be_focused()
        assert await violations(page) == []
        await shoot(page, artifacts / "chat-empty.png")

        await page.get_by_role("button", name="Why is the sky blue").click()
        await box(page).press("Enter")
        await expect(page.get_by_text("Short waves")).to_be_visible()
        await expect(page).to_have_url(re.compile(r"/c/[0-9a-f-]{36}$"))
        assert await violations(page) == []

        await page.reload()
        await expect(page.get_by_text("Short waves")).to_be_visible()
        await expect(page.get_by_role("button", name="Stop")).to_be_visible()
        release.set()
        await answered(page)
        await expect(page.get_by_role("cell", name="5.8")).to_be_visible()
        await expect(page.get_by_test_id("announcer")).to_have_text("Answer finished")

        async with glimpsed(page, "button", "Copied"):
            await page.get_by_role("button", name="Copy answer").click()
        assert await page.evaluate("navigator.clipboard.readText()") == ANSWER
        await page.get_by_role("button", name="Details").click()
        details = page.get_by_role("dialog", name="Details of this answer")
        await expect(details).to_contain_text("7 tokens")
        assert await violations(page) == []
        await shoot(page, artifacts / "chat-answer.png")
        await page.emulate_media(color_scheme="dark")
        assert await violations(page) == []
        await shoot(page, artifacts / "chat-dark.png")
    assert complaints == []


async def test_stopped_regenerated_and_edited_answers_replace_each_other(
    server: LiveServer, page_upstream: Upstream, chromium: Browser, artifacts: Path
) -> None:
    account = server.account()
    async with open_page(chromium, viewport=DESKTOP) as (page, complaints):
        await log_in(page, server, account)
        page_upstream.steps = ("Half an ans", asyncio.Event())
        await ask(page, "A question")
        await expect(page.get_by_text("Half an ans")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_text("This answer was stopped.")).to_be_visible()
        await page_upstream.hung_up.wait()
        address = page.url

        page_upstream.steps = ("The second answer",)
        await page.get_by_role("button", name="Regenerate").click()
        await expect(page.get_by_text("The second answer")).to_be_visible()
        await answered(page)
        await expect(page.get_by_text("Half an ans")).to_have_count(0)

        page_upstream.steps = ("The third answer",)
        await box(page).press("ArrowUp")
        editor = page.get_by_label("Edit your question")
        await expect(editor).to_be_focused()
        assert await violations(page) == []
        await shoot(page, artifacts / "chat-edit.png")
        await editor.fill("Another question")
        await page.get_by_role("button", name="Ask again").click()
        await expect(page.get_by_text("The third answer")).to_be_visible()
        await answered(page)
        assert page.url == address
        path = address.replace("/c/", "/llm/conversations/")
        stored = await page.request.get(path, headers=account.headers)
        messages = (await stored.json())["messages"]
    assert [message["content"] for message in messages] == [
        "Another question",
        "The third answer",
    ]
    assert complaints == []


async def test_an_answer_that_its_limit_has_ended_is_gone_on_with(
    server: LiveServer, page_upstream: Upstream, chromium: Browser, artifacts: Path
) -> None:
    async with open_page(chromium, viewport=DESKTOP) as (page, _):
        await log_in(page, server, server.account())
        page_upstream.reason = "length"
        await ask(page, "Tell me all")
        await expect(page.get_by_text("stopped at the length limit")).to_be_visible()
        assert await violations(page) == []
        await shoot(page, artifacts / "chat-length.png")

        page_upstream.reason, page_upstream.steps = "stop", ("And the rest.",)
        await page.get_by_role("button", name="Continue").click()
        await answered(page, 2)
        await expect(page.get_by_text("And the rest.")).to_be_visible()
        assert [one["content"] for one in page_upstream.requests[-1]["messages"]] == [
            "Tell me all",
            "Hello",
            "Continue.",
        ]


async def test_the_end_is_followed_unless_the_reader_has_scrolled_up(
    server: LiveServer, page_upstream: Upstream, chromium: Browser
) -> None:
    """Frames stay within their time in the last second of an answer of 5,000 tokens."""
    much = [f"word{n} " + ("\n\n" if n % 40 == 0 else "") for n in range(5000)]
    release, ticks = asyncio.Event(), [asyncio.Event() for _ in range(30)]
    paced = [step for tick in ticks for step in (tick, *[" more"] * 10)]
    page_upstream.steps = (*much, release, *paced, " The end.")
    async with open_page(chromium, viewport=DESKTOP, **MOTION) as (page, _):
        await log_in(page, server, server.account())
        await ask(page, "Tell me much")
        await expect(page.get_by_text("word4999")).to_be_in_viewport()

        messages = page.get_by_role("region", name="Conversation")
        await messages.hover()
        await page.mouse.wheel(0, -2000)
        to_end = page.get_by_role("button", name="Scroll to the newest message")
        await expect(to_end).to_be_visible()
        top = await messages.evaluate("element => element.scrollTop")

        session = await page.context.new_cdp_session(page)
        await session.send("Performance.enable", {"timeDomain": "threadTicks"})
        before = await busy_ms(session)
        release.set()
        for tick in ticks:  # 300 tokens, ten at a time
            tick.set()
            await frame(page)
        await answered(page)
        assert (await busy_ms(session) - before) / len(ticks) < FRAME_MS
        assert await messages.evaluate("element => element.scrollTop") == top

        await to_end.click()
        await expect(page.get_by_text("The end.")).to_be_in_viewport()
        await expect(to_end).to_have_count(0)


async def busy_ms(session: CDPSession) -> float:
    """Return the processor time that the page's thread has spent, in milliseconds."""
    metrics = (await session.send("Performance.getMetrics"))["metrics"]
    return 1000 * next(one["value"] for one in metrics if one["name"] == "TaskDuration")


async def frame(page: Page) -> None:
    """Wait until the page has drawn something."""
    await page.evaluate("() => new Promise(requestAnimationFrame)")


async def test_two_tabs_show_the_same_answer(
    server: LiveServer, page_upstream: Upstream, chromium: Browser
) -> None:
    page_upstream.steps = ("Half an ans", asyncio.Event())
    async with open_page(chromium, viewport=DESKTOP) as (page, complaints):
        await log_in(page, server, server.account())
        await ask(page, "A question")
        await expect(page.get_by_text("Half an ans")).to_be_visible()
        other = await page.context.new_page()
        await other.goto(page.url)
        await expect(other.get_by_text("Half an ans")).to_be_visible()
        await other.get_by_role("button", name="Stop").click()
        for tab in (page, other):
            await expect(tab.get_by_text("This answer was stopped.")).to_be_visible()

        page_upstream.steps = ("The other answer", asyncio.Event())
        await ask(other, "Another question")
        for tab in (page, other):
            await expect(tab.get_by_text("The other answer")).to_be_visible()
        await page.get_by_role("button", name="Stop").click()
        for tab in (page, other):
            stopped = tab.get_by_text("This answer was stopped.")
            await expect(stopped).to_have_count(2)
    assert complaints == []


async def test_what_a_model_writes_is_inert(
    server: LiveServer, page_upstream: Upstream, chromium: Browser
) -> None:
    page_upstream.steps = (
        "<script>document.title = 'run'</script> <b onclick=alert(1)>bold</b>\n\n"
        "[a link](javascript:document.title='run') ![x](https://beacon.example/x.png)\n\n"
        "The end.",
    )
    asked: list[str] = []
    async with open_page(chromium, viewport=DESKTOP) as (page, complaints):
        page.on("request", lambda request: asked.append(request.url))
        await log_in(page, server, server.account())
        await ask(page, "Be bad")
        await answered(page)
        prose = page.locator(".answer .prose")
        await expect(prose).to_contain_text("The end.")
        for forbidden in ("script", "[onclick]", "img", '[href^="javascript"]'):
            await expect(prose.locator(forbidden)).to_have_count(0)
        assert "run" not in await page.title()
    assert complaints == []
    assert [url for url in asked if not url.startswith(server.url)] == []


async def test_on_a_phone_enter_is_a_new_line(
    server: LiveServer, page_upstream: Upstream, chromium: Browser, artifacts: Path
) -> None:
    page_upstream.steps = (ANSWER,)
    async with open_page(chromium, viewport=PHONE, has_touch=True, is_mobile=True) as (
        page,
        complaints,
    ):
        await log_in(page, server, server.account())
        await shoot(page, artifacts / "chat-phone-empty.png")
        await box(page).fill("One line")
        await box(page).press("Enter")
        await box(page).press_sequentially("and another")
        await expect(box(page)).to_have_value("One line\nand another")
        await page.get_by_role("button", name="Send").tap()
        await answered(page)
        await expect(title(page)).to_have_text("One line and another")
        wide = "document.documentElement.scrollWidth > innerWidth"
        assert not await page.evaluate(wide)
        assert await violations(page) == []
        await shoot(page, artifacts / "chat-phone.png")
    assert complaints == []


async def test_the_choice_of_a_model_is_remembered(
    server: LiveServer, page_upstream: Upstream, chromium: Browser, artifacts: Path
) -> None:
    """The embedded model answers, too."""
    async with open_page(chromium, viewport=DESKTOP) as (page, complaints):
        await log_in(page, server, server.account())
        await expect(picker(page)).to_contain_text("OpenAI")
        await picker(page).click()
        claude = page.get_by_role("menuitem", name="Claude")
        await expect(claude).to_contain_text("needs an API key on this server")
        assert await violations(page) == []
        await shoot(page, artifacts / "chat-models.png")
        await page.get_by_role("menuitemradio", name="Local model").click()
        await page.reload()
        await expect(picker(page)).to_contain_text("Local model")

        await ask(page, "Say hello.")
        await expect(page.locator(".answer .prose")).not_to_be_empty()
        await page.keyboard.press("Escape")
        await answered(page)
    assert complaints == []
    assert page_upstream.requests == []
