"""The guide's own scripts, run unchanged except for address, token and provider."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.live import LiveServer

MOST_TOKENS = 24
JS = Path(__file__).parents[1] / "js"
DOCUMENTED_URL = "http://localhost:3000"


@pytest.fixture(scope="module", autouse=True)
def _short_answers(server: LiveServer) -> None:
    server.limit_answers("local", MOST_TOKENS)


def substituted(script: str, url: str, token: str) -> str:
    """Return one of the guide's scripts, aimed at the server under test."""
    text = (JS / script).read_text()
    for documented, actual in (
        (DOCUMENTED_URL, url),
        ("your-jwt-token", token),
        ("YOUR_JWT_TOKEN", token),
    ):
        text = text.replace(documented, actual)
    text, providers = re.subn(r"""(provider"?: )(['"])openai\2""", r"\1\2local\2", text)
    assert (token in text, url in text, providers) == (True, True, 1)
    return text


def test_node_script_prints_an_answer_and_its_tokens(
    server: LiveServer, tmp_path: Path
) -> None:
    script = tmp_path / "script.cjs"
    script.write_text(
        substituted("guide-node.cjs", server.url, server.account().access)
    )
    done = subprocess.run(
        ["node", str(script)],
        env={**os.environ, "NODE_PATH": str(JS / "node_modules")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    printed = re.fullmatch(
        r"Connected!\n(.+)\n\nDone! Tokens: (\d+)\n", done.stdout, re.DOTALL
    )
    assert printed, done.stdout
    assert printed[1].strip()
    assert int(printed[2]) > 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl found")
def test_curl_line_gets_a_json_answer(server: LiveServer) -> None:
    command = substituted("guide-curl.sh", server.url, server.account().access)
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=60, check=True
    )
    answer = json.loads(done.stdout)
    assert answer["provider"] == "local"
    assert answer["fullResponse"].strip()
    assert answer["tokenCount"] > 0
