"""How many clicks an operator needs for a key, and for another provider."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.conftest import StartServer
from tests.emulator.application import emulator
from tests.support.admin_hand import Hand, front_page
from tests.support.browser import IN_BROWSER
from tests.support.live import Account, LiveServer, free_port

pytestmark = IN_BROWSER

KEY = "sk-canary-live-0123456789-wxyz"
REFUSED = "sk-bad-live-0123456789-wxyz"


@pytest.fixture(scope="module")
def openai_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(start_server: StartServer, openai_port: int) -> Iterator[LiveServer]:
    address = f"http://127.0.0.1:{openai_port}"
    started = start_server("uvicorn", {"OPENAI_BASE_URL": address})
    yield started
    assert "Traceback" not in started.log_text(), started.log
    assert "0123456789" not in started.log_text()


@pytest.fixture(scope="module")
def operator(server: LiveServer) -> Account:
    return server.superuser()


def button(page: Page) -> Locator:
    return page.get_by_role("button", name="Save and test")


async def test_a_key_is_added_and_tested_with_at_most_five_clicks(
    server: LiveServer, operator: Account, openai_port: int, chromium: Browser
) -> None:
    hand = Hand()
    async with (
        emulator(openai_port) as provider,
        front_page(chromium, server, operator) as page,
    ):
        await hand.click(page.get_by_role("link", name="Providers"))
        await hand.click(page.get_by_role("link", name="OpenAI"))
        await hand.type(page.locator("#id_keys-0-value"), REFUSED)
        await hand.click(button(page))
        await expect(page.get_by_text("refused the API key")).to_be_visible()
        await expect(page.get_by_text("key refused: wrong key")).to_be_visible()
        assert hand.clicks <= 5

        # Corrected on the same page.
        await hand.type(page.locator("#id_keys-0-value"), KEY)
        await hand.click(button(page))
        await expect(page.get_by_text("Works: ")).to_be_visible()
        await expect(page.get_by_text("sk-…wxyz").first).to_be_visible()
        assert hand.clicks <= 6
        assert KEY not in await page.content()
        assert [r.status for r in provider.requests] == [401, 200]


async def test_ollama_is_added_with_at_most_four_clicks(
    server: LiveServer, operator: Account, chromium: Browser
) -> None:
    hand = Hand()
    async with (
        emulator(keyless=True) as provider,
        front_page(chromium, server, operator) as page,
    ):
        await hand.click(page.get_by_role("link", name="Providers"))
        await hand.click(page.locator('a[href$="/provider/add/"]'))
        await hand.click(page.get_by_role("link", name="Ollama"))
        address = page.locator("#id_base_url")
        await expect(address).to_have_value("http://localhost:11434/v1")
        # In a test, Ollama has another address and another model.
        await address.fill(f"{provider.url}/v1")
        await page.locator("#id_default_model").fill("scenario-short")
        await hand.click(button(page))
        await expect(page.get_by_text("Ollama: Works: ")).to_be_visible()
        await expect(page.get_by_text("not needed")).to_be_visible()
        assert hand.clicks <= 4
        (request,) = provider.requests
        assert request.body["model"] == "scenario-short"
