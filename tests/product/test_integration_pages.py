"""The pages of docs/integration.md, copied as the documentation says, in Chromium."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, Page, expect

from tests.conftest import StartServer
from tests.support.browser import IN_BROWSER, open_page, served
from tests.support.live import ROOT, Account, LiveServer
from tests.support.pages import aimed_at, script
from tests.support.upstream import Upstream

pytestmark = IN_BROWSER

PAGE = "docs/integration.md"
FRONTEND = ROOT / "frontend"
CLIENT = ROOT / "tests/js/node_modules/socket.io-client/dist/socket.io.esm.min.js"
# The folder that the documentation says to copy as a whole.
HOOK = "llm"
MAIN = """
import { createRoot } from "react-dom/client";
import { Chat } from "./Chat";
createRoot(document.getElementById("root")!).render(<Chat />);
"""
INDEX = """<!doctype html><html lang="en"><head><link rel="icon" href="data:,"></head>
<body><div id="root"></div><script type="module" src="/main.tsx"></script></body></html>
"""
COMPILER_OPTIONS = {
    "target": "ES2022",
    "lib": ["ES2022", "DOM", "DOM.Iterable"],
    "module": "ESNext",
    "moduleResolution": "bundler",
    "jsx": "react-jsx",
    "strict": True,
    "noEmit": True,
    "types": [],
}


@pytest.fixture(scope="module")
def server(start_server: StartServer, upstream_env: dict[str, str]) -> LiveServer:
    # Debug lets in a page that is on a port of its own.
    return start_server(env={**upstream_env, "DJANGO_DEBUG": "1"})


def block(server: LiveServer, language: str, holding: str) -> str:
    """Return a code block, changed to ask the test's provider."""
    code = aimed_at(server, server.account(), script(PAGE, language, holding))
    assert code.count('"local"') == 1
    return code.replace('"local"', '"openai"')


@pytest.fixture(scope="module")
def plain_page(
    server: LiveServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The page without a bundler, next to the two files that it needs."""
    directory = tmp_path_factory.mktemp("plain")
    (directory / "index.html").write_text(block(server, "html", "importmap"))
    module = script(PAGE, "javascript", "// llmchat.mjs")
    (directory / "llmchat.mjs").write_text(module)
    shutil.copy(CLIENT, directory)
    with served(directory) as url:
        yield url


@pytest.fixture(scope="module")
def react_page(
    server: LiveServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The hook's files and the component in a project of their own, compiled."""
    project = tmp_path_factory.mktemp("react")
    shutil.copytree(FRONTEND / "src" / HOOK, project / HOOK)
    (project / "Chat.tsx").write_text(block(server, "tsx", "// Chat.tsx"))
    (project / "Page.tsx").write_text(script(PAGE, "tsx", "// Page.tsx"))
    (project / "main.tsx").write_text(MAIN)
    (project / "index.html").write_text(INDEX)
    options = json.dumps({"compilerOptions": COMPILER_OPTIONS})
    (project / "tsconfig.json").write_text(options)
    (project / "node_modules").symlink_to(FRONTEND / "node_modules")
    for command in (["tsc", "--noEmit"], ["vite", "build", "--logLevel", "warn"]):
        tool = str(project / "node_modules" / ".bin" / command[0])
        done = subprocess.run(
            [tool, *command[1:]], cwd=project, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    with served(project / "dist") as url:
        yield url


async def log_in(page: Page, account: Account, password: str) -> None:
    await page.get_by_placeholder("Name").fill(account.username)
    await page.get_by_placeholder("Password").fill(password)
    await page.get_by_role("button", name="Log in").click()


async def ask(page: Page, text: str) -> None:
    await page.get_by_placeholder("Your question").fill(text)
    await page.get_by_role("button", name="Ask").click()


async def chat_on(page: Page, server: LiveServer, upstream: Upstream) -> None:
    """Log in at the second try; get an answer, stop another, and see a third fail."""
    account = server.account()
    await log_in(page, account, "not the password")
    await expect(page.get_by_role("alert")).to_contain_text("password is wrong")
    await log_in(page, account, account.password)

    upstream.steps = ("Hel", go := asyncio.Event(), "lo")
    await ask(page, "First?")
    await expect(page.get_by_text("Hel", exact=True)).to_be_visible()
    go.set()
    await expect(page.get_by_text("Hello", exact=True)).to_be_visible()

    upstream.steps = ("Once upon", asyncio.Event())
    await ask(page, "Second?")
    await expect(page.get_by_text("Once upon", exact=True)).to_be_visible()
    await page.get_by_role("button", name="Stop").click()
    await server.rows_soon(
        "SELECT 1 FROM llmchat_message WHERE user_id = ? AND state = 'cancelled'",
        account.user_id,
        count=1,
    )
    await expect(page.get_by_text("Once upon", exact=True)).to_be_visible()

    upstream.status = 401
    await ask(page, "Third?")
    await expect(page.get_by_role("alert")).to_contain_text("refused the API key")
    assert [m["content"] for m in upstream.requests[-1]["messages"]] == [
        *("First?", "Hello", "Second?", "Once upon", "Third?")
    ]


async def test_the_plain_page_chats(
    server: LiveServer, page_upstream: Upstream, plain_page: str, chromium: Browser
) -> None:
    async with open_page(chromium) as (page, _):
        await page.goto(plain_page)
        await chat_on(page, server, page_upstream)


async def test_the_hook_compiles_alone_and_chats(
    server: LiveServer, page_upstream: Upstream, react_page: str, chromium: Browser
) -> None:
    async with open_page(chromium) as (page, _):
        await page.goto(react_page)
        await chat_on(page, server, page_upstream)
        await expect(page.locator("output")).to_have_text("connected")
