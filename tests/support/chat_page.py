"""The chat page, used as a person uses it."""

from __future__ import annotations

from playwright.async_api import Locator, Page, expect

from tests.proxy import Proxy
from tests.support.live import Account, LiveServer

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


async def log_in(page: Page, server: LiveServer | Proxy, account: Account) -> None:
    """Log in, and wait until a question can be asked."""
    await page.goto(server.url)
    await page.get_by_label("Username").fill(account.username)
    await page.get_by_label("Password", exact=True).fill(account.password)
    await page.get_by_role("button", name="Log in", exact=True).click()
    await expect(picker(page)).to_be_visible()


async def ask(page: Page, text: str) -> None:
    """Send a question with the Enter key."""
    await box(page).fill(text)
    await expect(page.get_by_role("button", name="Send")).to_be_enabled()
    await box(page).press("Enter")


async def answered(page: Page, count: int = 1) -> None:
    """Wait until there are `count` answers and none is being written."""
    await expect(page.locator(".answer")).to_have_count(count)
    await expect(page.get_by_role("button", name="Regenerate")).to_be_visible()


async def from_menu(page: Page, title: str, item: str) -> None:
    """Choose an item from the menu of a conversation in the list."""
    await row(page, title).hover()
    await page.get_by_role("button", name=f"More for {title}").click()
    await page.get_by_role("menuitem", name=item).click()


def box(page: Page) -> Locator:
    """Return the field for a question."""
    return page.get_by_label("Your message")


def picker(page: Page) -> Locator:
    """Return the button that names the model that answers."""
    return page.get_by_role("button", name="Model:")


def row(page: Page, title: str) -> Locator:
    """Return a conversation in the list; its accessible name ends with its state."""
    return page.get_by_role("navigation").get_by_role("link", name=title)


def title(page: Page) -> Locator:
    """Return the title of the conversation that is shown."""
    return page.get_by_role("main").get_by_role("heading", level=1)
