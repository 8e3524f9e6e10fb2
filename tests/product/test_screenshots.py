"""Screenshots of the tests' pages are for people, who ask for them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.support.browser import IN_BROWSER, open_page, shoot

pytestmark = IN_BROWSER


async def test_a_screenshot_is_kept_only_where_it_is_asked_for(
    chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLMCHAT_TEST_SCREENSHOTS", raising=False)
    async with open_page(chromium) as (page, _):
        await shoot(page, tmp_path / "unasked.png")
        monkeypatch.setenv("LLMCHAT_TEST_SCREENSHOTS", "1")
        await shoot(page, tmp_path / "asked.png")

    assert os.listdir(tmp_path) == ["asked.png"]
