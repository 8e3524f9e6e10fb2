"""The admin's lists and forms: none breaks axe-core's rules or is too wide.

test_admin_axe.py has the pages of rows; two files can be tested at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, expect

from tests.conftest import StartServer
from tests.emulator.application import emulator
from tests.support.admin_look import filled, looking
from tests.support.browser import IN_BROWSER
from tests.support.live import LiveServer, free_port

pytestmark = IN_BROWSER


@pytest.fixture(scope="module")
def openai_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(start_server: StartServer, openai_port: int) -> Iterator[LiveServer]:
    address = f"http://127.0.0.1:{openai_port}"
    started = start_server("uvicorn", {"OPENAI_BASE_URL": address})
    yield started
    assert "Traceback" not in started.log_text(), started.log


@pytest.mark.timeout(300)  # it looks at all of them, one after the other
async def test_no_list_or_form_breaks_a_rule_of_axe_or_is_too_wide(
    server: LiveServer, openai_port: int, chromium: Browser
) -> None:
    addresses = filled(server)
    async with looking(chromium, server) as looker:
        page = looker.page
        await looker.log_in()
        await looker.look_at(addresses["others"])

        # Pages that answer a button.
        async with emulator(openai_port):
            await looker.open(
                next(url for url in addresses["rows"] if "/provider/" in url)
            )
            await page.get_by_role("button", name="Save and test").click()
            await expect(page.get_by_text("Works: ")).to_be_visible()
            await looker.look("tested")
        await looker.open("/admin/llmchat/message/")
        await page.locator("a", has_text="Filters").click()
        await expect(page.get_by_role("button", name="Apply")).to_be_visible()
        await looker.look("filters")
        await looker.open("/admin/accounts/apikey/add/")
        await page.locator(".select2-selection").click()
        await page.get_by_role("option", name="user0", exact=True).click()
        await page.get_by_label("Name").fill("For a look")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_text("Copy it now")).to_be_visible()
        await looker.look("an issued key")
        await looker.open("/admin/llmchat/budget/add/")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_text("Choose one user, one group")).to_be_visible()
        await looker.look("faults of a form")
