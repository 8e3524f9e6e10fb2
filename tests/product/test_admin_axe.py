"""Pages of the admin, one of each kind: none breaks axe-core's rules or is too wide.

Here are the front page and those of a row; test_admin_axe_lists.py has the others.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, expect

from tests.conftest import StartServer
from tests.support.admin_look import filled, looking
from tests.support.browser import IN_BROWSER
from tests.support.live import LiveServer

pytestmark = IN_BROWSER


@pytest.fixture(scope="module")
def server(start_server: StartServer) -> Iterator[LiveServer]:
    started = start_server("uvicorn")
    yield started
    assert "Traceback" not in started.log_text(), started.log


@pytest.mark.timeout(300)  # it looks at all of them, one after the other
async def test_no_page_of_a_row_breaks_a_rule_of_axe_or_is_too_wide(
    server: LiveServer, chromium: Browser
) -> None:
    addresses = filled(server)["rows"]
    async with looking(chromium, server) as looker:
        page = looker.page
        await page.get_by_label("Username").fill(looker.operator.username)
        await page.get_by_label("Password").fill("not it")
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_text("Incorrect username or password")).to_be_visible()
        await looker.look("log-in")
        await looker.log_in()
        await looker.look_at(addresses)
