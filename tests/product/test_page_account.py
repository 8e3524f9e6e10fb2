"""The account on the page: log-in, registration, sessions, settings, in Chromium."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, Route, expect

from tests.conftest import StartServer
from tests.support.axe import violations
from tests.support.browser import IN_BROWSER, open_page, shoot
from tests.support.live import Account, LiveServer

pytestmark = IN_BROWSER

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
DRAFT = "What the lighthouse keeper said"
EXPIRED = "e30.eyJleHAiOjF9.e30"  # {"exp": 1}
REFUSED = "Failed to load resource: the server responded with a status of 401"


@pytest.fixture(scope="module")
def server(start_server: StartServer) -> Iterator[LiveServer]:
    """One server for all tests; nothing that a page does may cause an exception."""
    started = start_server(env={"LLMCHAT_REGISTRATION": "1"})
    yield started
    assert "Traceback" not in started.log_text(), started.log


async def enter(page: Page, username: str, password: str) -> None:
    """Fill in the log-in form that is shown, and send it."""
    await page.get_by_label("Username").fill(username)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Log in", exact=True).click()


async def log_in(page: Page, server: LiveServer, account: Account) -> None:
    """Log in and wait for the chat."""
    await page.goto(server.url)
    await enter(page, account.username, account.password)
    await expect(composer(page)).to_be_visible()


def composer(page: Page) -> Locator:
    """Return the text box of the chat."""
    return page.get_by_label("Your message")


def log_in_button(page: Page) -> Locator:
    return page.get_by_role("button", name="Log in", exact=True)


async def open_menu(page: Page) -> None:
    """Open the account's menu, which is in a drawer on a phone."""
    size = page.viewport_size
    if size == PHONE:
        await page.get_by_role("button", name="Show conversations").click()
    await page.get_by_role("button", name="Account of").click()


async def open_settings(page: Page, section: str) -> Locator:
    """Open a section of the settings; return their dialog."""
    await open_menu(page)
    await page.get_by_role("menuitem", name="Settings").click()
    settings = page.get_by_role("dialog", name="Settings")
    await settings.get_by_role("button", name=section, exact=True).click()
    return settings


async def log_out(page: Page) -> None:
    await open_menu(page)
    await page.get_by_role("menuitem", name="Log out").click()
    await expect(log_in_button(page)).to_be_visible()


async def tokens(page: Page) -> list[str]:
    """Return the names under which the browser keeps tokens."""
    names: list[str] = await page.evaluate("Object.keys(localStorage)")
    return [name for name in names if name.startswith("jwt_")]


async def test_wrong_password_is_said_and_log_out_leads_back(
    server: LiveServer, chromium: Browser
) -> None:
    account = server.account()
    async with open_page(chromium, viewport=PHONE) as (page, complaints):
        await page.goto(server.url)
        await expect(page.get_by_label("Username")).to_be_focused()
        await enter(page, account.username, "something else")
        await expect(page.get_by_role("alert")).to_have_text(
            "Username or password is wrong"
        )
        await expect(page.get_by_label("Username")).to_have_value(account.username)
        await enter(page, account.username, account.password)
        await expect(composer(page)).to_be_visible()
        await page.reload()
        await expect(composer(page)).to_be_visible()
        await log_out(page)
        assert await tokens(page) == []
        # For another user the page starts from scratch.
        other = server.account()
        async with page.expect_event("load"):
            await enter(page, other.username, other.password)
        await open_menu(page)
        await expect(page.get_by_role("button", name=other.username)).to_be_visible()
    assert len(complaints) == 1
    assert complaints[0].startswith(REFUSED)


async def test_registration_says_what_is_wrong_at_its_field(
    server: LiveServer, chromium: Browser
) -> None:
    taken = server.account().username
    async with open_page(chromium, viewport=PHONE) as (page, _):
        await page.goto(server.url)
        await page.get_by_role("button", name="Create an account").click()
        name, word = page.get_by_label("Username"), page.get_by_label("Password")
        make = page.get_by_role("button", name="Create account")
        await name.fill(taken)
        await word.fill("correct horse battery")
        await make.click()
        await expect(name).to_have_accessible_description("This username is taken.")
        await expect(name).to_be_focused()
        await name.fill("lighthouse")
        await word.fill("lighthouse1")
        await make.click()
        await expect(word).to_have_accessible_description(re.compile("too similar"))
        await expect(word).to_be_focused()
        await expect(name).to_have_accessible_description("")
        await word.fill("correct horse battery")
        await make.click()
        await expect(composer(page)).to_be_visible()
    assert server.rows("SELECT 1 FROM accounts_user WHERE username = 'lighthouse'")


async def test_no_registration_where_it_is_off(
    server: LiveServer, chromium: Browser
) -> None:
    async def switched_off(route: Route) -> None:
        answer = await route.fetch()
        on = '<meta name="llmchat-registration" content="on">'
        text = await answer.text()
        assert on in text
        await route.fulfill(response=answer, body=text.replace('"on"', '"off"'))

    async with open_page(chromium) as (page, _):
        await page.route(f"{server.url}/", switched_off)
        await page.goto(server.url)
        await expect(log_in_button(page)).to_be_visible()
        await expect(page.get_by_role("button", name="account")).to_have_count(0)


async def test_a_new_password_keeps_this_page_and_ends_the_others(
    server: LiveServer, chromium: Browser, artifacts: Path
) -> None:
    account, other = server.account(), server.account()
    new = "a lighthouse of my own"
    async with (
        open_page(chromium, viewport=DESKTOP) as (page, _),
        open_page(chromium, viewport=PHONE) as (elsewhere, _),
    ):
        await log_in(page, server, account)
        await log_in(elsewhere, server, account)
        await composer(elsewhere).fill(DRAFT)

        settings = await open_settings(page, "Password")
        change = settings.get_by_role("button", name="Change password")
        current = settings.get_by_label("Current password")
        await current.fill("something else")
        await settings.get_by_label("New password").fill("123")
        await change.click()
        await expect(current).to_have_accessible_description("The password is wrong")
        await current.fill(account.password)
        await change.click()
        await expect(
            settings.get_by_label("New password")
        ).to_have_accessible_description(re.compile("too short"))
        await settings.get_by_label("New password").fill(new)
        await change.click()
        await expect(page.get_by_text("Your password has been changed")).to_be_visible()
        await expect(current).to_have_value("")

        # The other page keeps everything that it had, behind a dialog.
        ended = elsewhere.get_by_role("dialog", name="Your session has ended")
        await expect(ended.get_by_label("Password")).to_be_focused()
        await elsewhere.keyboard.press("Escape")
        await shoot(elsewhere, artifacts / "page-session-ended.png")
        await ended.get_by_label("Password").fill(new)
        await elsewhere.keyboard.press("Enter")
        await expect(ended).to_have_count(0)
        await expect(composer(elsewhere)).to_have_value(DRAFT)
        await expect(elsewhere.get_by_role("status").first).to_contain_text("Connected")

        # This page is as it was: it makes its requests with its new tokens.
        await settings.get_by_role("button", name="API keys").click()
        await expect(settings.get_by_text("You have no keys yet")).to_be_visible()

        # Another user finds nothing of the first one.
        await change_password(elsewhere, server, new, f"{new}, too")
        await expect(ended).to_be_visible()
        async with elsewhere.expect_event("load"):
            await enter(elsewhere, other.username, other.password)
        await expect(composer(elsewhere)).to_have_value("")


async def change_password(page: Page, server: LiveServer, old: str, new: str) -> None:
    """Set another password from elsewhere, which ends the session of the page."""
    token = await page.evaluate("localStorage.getItem('jwt_token')")
    answer = await page.request.post(
        f"{server.url}/auth/password",
        headers={"Authorization": f"Bearer {token}"},
        data={"current": old, "new": new},
    )
    assert answer.ok


async def test_two_tabs_log_out_and_in_together(
    server: LiveServer, chromium: Browser
) -> None:
    account = server.account()
    async with open_page(chromium, viewport=DESKTOP) as (page, complaints):
        await log_in(page, server, account)
        other = await page.context.new_page()
        await other.goto(server.url)
        await expect(composer(other)).to_be_visible()
        await log_out(page)
        await expect(log_in_button(other)).to_be_visible()
        await enter(other, account.username, account.password)
        await expect(composer(page)).to_be_visible()
        await expect(composer(other)).to_be_visible()
        # A session that has ended in both tabs is resumed in both by a log-in in one.
        await composer(page).fill(DRAFT)
        await page.evaluate("localStorage.clear()")
        await open_settings(page, "API keys")
        for tab in (page, other):
            await expect(tab.get_by_role("dialog", name="has ended")).to_be_visible()
        await other.get_by_label("Password").fill(account.password)
        await other.keyboard.press("Enter")
        await expect(page.get_by_role("dialog", name="has ended")).to_have_count(0)
        await expect(composer(page)).to_have_value(DRAFT)
    assert complaints == []


async def test_expired_access_token_is_renewed_unseen(
    server: LiveServer, chromium: Browser
) -> None:
    async with open_page(chromium) as (page, complaints):
        await log_in(page, server, server.account())
        await page.evaluate("t => localStorage.setItem('jwt_token', t)", EXPIRED)
        await open_settings(page, "API keys")
        await expect(page.get_by_text("You have no keys yet")).to_be_visible()
        assert await page.evaluate("localStorage.getItem('jwt_token')") != EXPIRED
    assert complaints == []


async def test_tabs_without_locks_that_refresh_at_once_stay_logged_in(
    server: LiveServer, chromium: Browser
) -> None:
    """Browsers have no Web Locks on plain HTTP; tabs stay logged in without them."""
    async with open_page(chromium) as (page, _):
        await page.context.add_init_script(
            "Object.defineProperty(navigator, 'locks', {value: undefined})"
        )
        await log_in(page, server, server.account())
        other = await page.context.new_page()
        await other.goto(server.url)
        await expect(composer(other)).to_be_visible()
        for _ in range(2):
            await page.evaluate("t => localStorage.setItem('jwt_token', t)", EXPIRED)
            await asyncio.gather(page.reload(), other.reload())
            for tab in (page, other):
                await expect(composer(tab)).to_be_visible()


async def test_a_reload_in_the_middle_of_a_refresh_logs_nobody_out(
    server: LiveServer, chromium: Browser
) -> None:
    lost = asyncio.Event()

    async def lose(route: Route) -> None:
        """Let the server answer, but never pass the answer on to the page."""
        await route.fetch()
        lost.set()

    async with open_page(chromium) as (page, _):
        await log_in(page, server, server.account())
        await page.route("**/auth/token/refresh", lose, times=1)
        await page.evaluate("t => localStorage.setItem('jwt_token', t)", EXPIRED)
        await page.reload(wait_until="commit")
        await asyncio.wait_for(lost.wait(), 20)
        await page.reload()

        await expect(composer(page)).to_be_visible()
        assert await page.evaluate("localStorage.getItem('jwt_token')") != EXPIRED


async def test_a_key_is_made_shown_once_and_revoked(
    server: LiveServer, chromium: Browser, artifacts: Path
) -> None:
    async with open_page(chromium, viewport=PHONE) as (page, complaints):
        await log_in(page, server, server.account())
        settings = await open_settings(page, "API keys")
        await settings.get_by_label("Name").fill("nightly report")
        await settings.get_by_label("Valid for").select_option("Until revoked")
        await settings.get_by_role("button", name="Create a key").click()
        shown = settings.get_by_label("Copy the key now")
        await expect(shown).to_have_value(re.compile(r"^llmc_\w{49}$"))
        key = await shown.input_value()
        await shoot(page, artifacts / "page-key-made.png")
        row = settings.get_by_role("list", name="Your keys").get_by_role("listitem")
        await expect(row).to_contain_text("active · chat, read · never used")

        program = await page.request.get(
            f"{server.url}/llm/providers", headers={"Authorization": f"Bearer {key}"}
        )
        assert program.ok
        await settings.get_by_role("button", name="Done").click()
        await settings.get_by_role("button", name="Revoke nightly report").click()
        await page.get_by_role("button", name="Revoke key").click()
        await expect(row).to_contain_text("revoked")
        assert key not in await page.content()
    assert complaints == []


async def test_everything_is_downloaded_and_then_deleted(
    server: LiveServer, chromium: Browser, tmp_path: Path
) -> None:
    account = server.account()
    async with open_page(chromium, viewport=DESKTOP) as (page, _):
        await log_in(page, server, account)
        settings = await open_settings(page, "Your data")
        async with page.expect_download() as download:
            await settings.get_by_role("button", name="Download my data").click()
        file = await download.value
        assert file.suggested_filename == "llmchat-export.json"
        exported = tmp_path / "export.json"
        await file.save_as(exported)
        stored = json.loads(exported.read_text())
        assert stored["user"]["username"] == account.username

        await settings.get_by_role("button", name="Delete my account").click()
        asked = page.get_by_role("dialog", name="Delete your account?")
        await asked.get_by_label("Your password").fill("something else")
        await asked.get_by_role("button", name="Delete everything").click()
        await expect(
            asked.get_by_label("Your password")
        ).to_have_accessible_description("The password is wrong")
        await asked.get_by_label("Your password").fill(account.password)
        await asked.get_by_role("button", name="Delete everything").click()
        await expect(
            page.get_by_text("Your account and everything in it")
        ).to_be_visible()
        await expect(log_in_button(page)).to_be_visible()
        assert await tokens(page) == []
    assert not server.rows("SELECT 1 FROM accounts_user WHERE id = ?", account.user_id)


async def test_theme_and_instructions_are_remembered(
    server: LiveServer, chromium: Browser
) -> None:
    theme = "document.documentElement.dataset.theme"
    async with open_page(chromium, viewport=DESKTOP) as (page, complaints):
        await log_in(page, server, server.account())
        other = await page.context.new_page()
        await other.goto(server.url)
        await expect(composer(other)).to_be_visible()
        settings = await open_settings(page, "Appearance")
        await settings.get_by_label("Dark").check()
        await expect(other.locator("html")).to_have_attribute("data-theme", "dark")
        await settings.get_by_role("button", name="Instructions").click()
        await settings.get_by_label("Your instructions").fill("Answer in verse.")

        await page.reload()
        settings = await open_settings(page, "Instructions")
        await expect(settings.get_by_label("Your instructions")).to_have_value(
            "Answer in verse."
        )
        # The page is dark before its module runs, so nothing flashes.
        await page.route("**/build/chat*.js", lambda route: route.abort())
        await page.reload()
        assert await page.evaluate(theme) == "dark"
        await page.unroute_all()
        await page.reload()
        settings = await open_settings(page, "Appearance")
        await settings.get_by_label("Same as system").check()
        assert await page.evaluate(theme) is None
    assert complaints == ["Failed to load resource: net::ERR_FAILED"]


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_every_state_is_accessible_in_light_and_dark(
    server: LiveServer,
    chromium: Browser,
    artifacts: Path,
    viewport: dict[str, int],
) -> None:
    account = server.account()
    found: dict[str, list[str]] = {}
    async with open_page(chromium, viewport=viewport) as (page, _):

        async def judge(state: str) -> None:
            name = f"page-account-{state}-{viewport['width']}"
            await page.emulate_media(color_scheme="light")
            found[f"{state}, light"] = await violations(page)
            await shoot(page, artifacts / f"{name}-light.png")
            await page.emulate_media(color_scheme="dark")
            found[f"{state}, dark"] = await violations(page, only=("color-contrast",))
            await shoot(page, artifacts / f"{name}-dark.png")

        await page.goto(server.url)
        await page.get_by_role("button", name="Create an account").click()
        await page.get_by_label("Password").fill("123")
        await page.get_by_label("Username").fill(account.username)
        await page.get_by_role("button", name="Create account").click()
        await expect(page.get_by_label("Username")).to_have_accessible_description(
            re.compile("taken")
        )
        await judge("register")
        await page.get_by_role("button", name="Log in instead").click()
        await enter(page, account.username, "something else")
        await expect(page.get_by_role("alert")).to_be_visible()
        await judge("log-in")
        await enter(page, account.username, account.password)
        await expect(composer(page)).to_be_visible()
        await open_menu(page)
        await judge("menu")
        await page.get_by_role("menuitem", name="Settings").click()
        settings = page.get_by_role("dialog", name="Settings")
        await judge("appearance")
        await settings.get_by_role("button", name="Instructions").click()
        await settings.get_by_label("Your instructions").fill("long " * 1000)
        await judge("instructions")
        await settings.get_by_role("button", name="Password").click()
        await judge("password")
        await settings.get_by_role("button", name="API keys").click()
        await settings.get_by_label("Name").fill("nightly report")
        await judge("keys")
        await settings.get_by_role("button", name="Create a key").click()
        await expect(settings.get_by_label("Copy the key now")).to_be_visible()
        await settings.get_by_role("button", name="Revoke nightly report").click()
        await judge("revoke")
        await page.get_by_role("button", name="Cancel").click()
        await settings.get_by_role("button", name="Your data").click()
        await judge("data")
        await settings.get_by_role("button", name="Delete my account").click()
        await judge("delete")
        await page.get_by_role("button", name="Cancel").click()
        await page.evaluate("localStorage.clear()")
        await settings.get_by_role("button", name="API keys").click()
        await expect(page.get_by_role("dialog", name="has ended")).to_be_visible()
        await judge("ended")
    assert {state: problems for state, problems in found.items() if problems} == {}
