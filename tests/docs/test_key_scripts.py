"""The documentation's examples for API keys and OpenAI's SDKs do what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ONE_SERVER
from tests.docs.test_scripts import NODE_MODULES, needs_curl
from tests.support.live import LiveServer
from tests.support.pages import aimed_at, script

PAGE = "docs/integration.md"

pytestmark = [ONE_SERVER, needs_curl]  # curl makes the key


@pytest.fixture(scope="module")
def key(server: LiveServer) -> str:
    """An API key, made with the documented command."""
    line = aimed_at(server, server.account(), script(PAGE, "sh", "/auth/keys"))
    made = json.loads(run(["sh", "-c", line]))
    assert made["budgets"][0]["limit"] == "5"
    return str(made["key"])


def run(command: list[str], **env: str) -> str:
    return subprocess.run(
        command,
        env={**os.environ, "NODE_PATH": str(NODE_MODULES), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


def shown(server: LiveServer, key: str, language: str, mark: str) -> str:
    """Return what the page shows, with the server and the key in it."""
    code = aimed_at(server, server.account(), script(PAGE, language, mark))
    return code.replace("llmc_YOUR_KEY", key)


def test_the_line_with_a_key_lists_conversations(server: LiveServer, key: str) -> None:
    line = shown(server, key, "sh", "llmc_YOUR_KEY")

    assert json.loads(run(["sh", "-c", line])) == {"results": [], "cursor": None}


def test_a_socket_comes_in_with_a_key(server: LiveServer, key: str) -> None:
    code = shown(server, key, "javascript", 'auth: { token: "llmc_YOUR_KEY"')
    code = f"""
        const {{ io }} = require("socket.io-client");
        {code}
        const leave = (word) => {{ console.log(word); socket.disconnect(); }};
        socket.on("connect_error", (error) => leave(error.message));
        socket.on("connect", () => leave("in"));
    """

    assert run(["node", "-e", code]) == "in\n"


def test_the_python_sdk_prints_an_answer(server: LiveServer, key: str) -> None:
    code = shown(server, key, "python", "from openai import")

    assert run([sys.executable, "-c", code]).strip()


def test_the_node_sdk_prints_an_answer(
    server: LiveServer, key: str, tmp_path: Path
) -> None:
    file = tmp_path / "ask.mjs"
    file.write_text(shown(server, key, "javascript", 'from "openai"'))
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)

    assert run(["node", str(file)]).strip()


def test_the_tool_for_the_command_line_prints_an_answer(
    server: LiveServer, key: str, tmp_path: Path
) -> None:
    models = tmp_path / "extra-openai-models.yaml"
    models.write_text(shown(server, key, "yaml", "model_id: llmchat"))
    tool = [sys.executable, "-m", "llm"]
    # The plugin with the embedded model is installed without its dependencies.
    home = {"LLM_USER_PATH": str(tmp_path), "LLM_LOAD_PLUGINS": ""}
    run([*tool, "keys", "set", "llmchat", "--value", key], **home)

    assert run([*tool, "-m", "llmchat", "Hi!"], **home).strip()
