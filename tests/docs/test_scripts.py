"""The scripts of the documentation do what the documentation says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.live import ROOT, Account, LiveServer

NODE_MODULES = ROOT / "tests" / "js" / "node_modules"

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl found")


def script(page: str, language: str, holding: str) -> str:
    """Return the one code block of a page that holds a certain text."""
    blocks = re.findall(
        rf"^```{language}\n(.*?)^```$",
        (ROOT / page).read_text(),
        re.DOTALL | re.MULTILINE,
    )
    (found,) = [block for block in blocks if holding in block]
    return str(found)


def aimed_at(server: LiveServer, account: Account, code: str) -> str:
    for documented, actual in (
        ("http://localhost:3000", server.url),
        ('"demo"', f'"{account.username}"'),
        ("THE PRINTED PASSWORD", account.password),
        ("YOUR ACCESS TOKEN", account.access),
        ("YOUR_ACCESS_TOKEN", account.access),
    ):
        code = code.replace(documented, actual)
    return code


def run(command: list[str]) -> str:
    return subprocess.run(
        command,
        env={**os.environ, "NODE_PATH": str(NODE_MODULES)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


@pytest.mark.parametrize(
    ("page", "holding", "printed"),
    [
        ("README.md", "my-first-stream", r".+\n\nDone! Tokens: \d+\n"),
        ("docs/integration.md", "async function main", r".+\n"),
    ],
)
def test_the_node_script_prints_an_answer(
    server: LiveServer, tmp_path: Path, page: str, holding: str, printed: str
) -> None:
    file = tmp_path / "script.cjs"
    code = script(page, "javascript", holding)
    file.write_text(aimed_at(server, server.account(), code))

    output = run(["node", str(file)])

    assert re.fullmatch(printed, output, re.DOTALL), output


@needs_curl
def test_the_line_for_a_token_gets_one(server: LiveServer) -> None:
    line = script("README.md", "sh", "/auth/token")

    answer = json.loads(run(["sh", "-c", aimed_at(server, server.account(), line)]))

    assert answer.keys() == {"access", "refresh"}


@needs_curl
def test_the_line_for_an_answer_gets_one(server: LiveServer) -> None:
    line = script("README.md", "sh", "/llm/chat")

    answer = json.loads(run(["sh", "-c", aimed_at(server, server.account(), line)]))

    assert answer["fullResponse"]


@needs_curl
def test_the_line_for_a_streamed_answer_gets_its_events(server: LiveServer) -> None:
    line = script("docs/integration.md", "sh", "/llm/chat")

    output = run(["sh", "-c", aimed_at(server, server.account(), line)])

    names = re.findall(r"^event: (.+)$", output, re.MULTILINE)
    assert names[0] == "llm:stream:start"
    assert names[-1] == "llm:stream:done"
    assert set(names[1:-1]) == {"llm:stream:token"}
