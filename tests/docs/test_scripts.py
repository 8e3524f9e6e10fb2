"""The scripts of the documentation do what the documentation says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jwt
import pytest

from tests.conftest import ONE_SERVER
from tests.support import live
from tests.support.live import ROOT, Account, LiveServer
from tests.support.pages import aimed_at, script

MOST_TOKENS = 40
NODE_MODULES = ROOT / "tests" / "js" / "node_modules"

pytestmark = ONE_SERVER
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl found")


@pytest.fixture(scope="module", autouse=True)
def _short_answers(server: LiveServer) -> None:
    server.limit_answers("local", MOST_TOKENS)


def run(command: list[str]) -> str:
    return subprocess.run(
        command,
        env={**os.environ, "NODE_PATH": str(NODE_MODULES)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


def test_the_node_script_of_the_readme_prints_an_answer(
    server: LiveServer, tmp_path: Path
) -> None:
    file = tmp_path / "script.cjs"
    code = script("README.md", "javascript", "my-first-stream")
    file.write_text(aimed_at(server, server.account(), code))

    output = run(["node", str(file)])

    assert re.fullmatch(r".+\n\nDone! Tokens: \d+\n", output, re.DOTALL), output


def module(tmp_path: Path, code: str) -> list[str]:
    """Return the command for a module next to that of the integration page."""
    client = script("docs/integration.md", "javascript", "// llmchat.mjs")
    (tmp_path / "llmchat.mjs").write_text(client)
    (tmp_path / "ask.mjs").write_text(code)
    # NODE_PATH does not apply to ES modules.
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    return ["node", str(tmp_path / "ask.mjs")]


def test_the_node_script_prints_an_answer(server: LiveServer, tmp_path: Path) -> None:
    code = script("docs/integration.md", "javascript", "// ask.mjs")

    output = run(module(tmp_path, aimed_at(server, server.account(), code)))

    assert re.fullmatch(r".+\n", output, re.DOTALL), output


def complaint_of(command: list[str]) -> tuple[int, str]:
    """Run a program that cannot succeed; return its status and what it prints."""
    done = subprocess.run(
        command,
        env={**os.environ, "NODE_PATH": str(NODE_MODULES)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert not done.stdout.strip()
    return done.returncode, done.stderr


@pytest.mark.parametrize("token", ["", "nonsense", "eyJhbGciOiJub25lIn0.e30."])
def test_the_node_script_of_the_readme_says_that_its_token_is_wrong(
    server: LiveServer, tmp_path: Path, token: str
) -> None:
    code = script("README.md", "javascript", "my-first-stream")
    code = code.replace("http://localhost:3000", server.url)

    file = tmp_path / "script.cjs"
    file.write_text(code.replace("YOUR ACCESS TOKEN", token))

    _, complaint = complaint_of(["node", str(file)])

    wrong = "invalid" if token else "missing"
    assert complaint == f"Cannot connect: Authentication token {wrong}\n"


def test_the_node_script_says_that_its_password_is_wrong(
    server: LiveServer, tmp_path: Path
) -> None:
    code = script("docs/integration.md", "javascript", "// ask.mjs")
    code = code.replace("THE PRINTED PASSWORD", "not the password")
    code = aimed_at(server, server.account(), code)

    status, complaint = complaint_of(module(tmp_path, code))

    assert status == 1
    assert complaint == "invalid_credentials: Username or password is wrong\n"


def expired(server: LiveServer, account: Account) -> str:
    """Return an account's access token as it is after half an hour: expired."""
    claims = jwt.decode(account.access, options={"verify_signature": False})
    secret = live.environment(server.database)["DJANGO_SECRET_KEY"]
    return str(jwt.encode({**claims, "exp": 1}, secret, algorithm="HS256"))


def with_expired_token(server: LiveServer, account: Account, refresh: str) -> str:
    """Return the integration page's script, with a token that expires immediately."""
    code = script("docs/integration.md", "javascript", "// ask.mjs")
    late = (
        f'Object.assign(tokens, {{ access: "{expired(server, account)}", {refresh} }});'
    )
    code = code.replace("  const socket =", f"  {late}\n  const socket =")
    return aimed_at(server, account, code)


def test_the_node_script_refreshes_a_token_that_has_expired(
    server: LiveServer, tmp_path: Path
) -> None:
    code = with_expired_token(server, server.account(), "")

    assert run(module(tmp_path, code)).strip()


def test_the_node_script_gives_up_where_the_refresh_token_has_expired_too(
    server: LiveServer, tmp_path: Path
) -> None:
    code = with_expired_token(server, server.account(), 'refresh: "nonsense"')
    status, complaint = complaint_of(module(tmp_path, code))
    assert (status, complaint) == (1, "Authentication token missing\n")


# Calls `ask` in many ways.
DRIVER = """
import { io } from "socket.io-client";
import { ask } from "./llmchat.mjs";
const EVENTS = ["connect", "disconnect", "connect_error", "llm:stream:token",
  "llm:stream:done", "llm:stream:error", "llm:stream:cancelled"];
const hi = [{ role: "user", content: "Hi!" }];
const connected = (socket) => new Promise((done) => socket.once("connect", done));
const outcome = (asked) => asked.then((text) => typeof text, (error) => error.message);
const socket = io("http://localhost:3000", { auth: { token: "YOUR ACCESS TOKEN" } });
const outcomes = [];
PLAY
const left = EVENTS.flatMap((event) => socket.listeners(event));
console.log(JSON.stringify([...outcomes, left.length]));
socket.close();
"""
PLAYS = {
    "one after another": (
        """outcomes.push(await outcome(ask(socket, "local", hi)));
        outcomes.push(await outcome(ask(socket, "nobody", hi)));
        let shown = "";
        const onToken = (text) => { shown += text; };
        const text = await ask(socket, "local", hi, { onToken });
        outcomes.push(text === shown);""",
        ["string", "provider_not_found: Provider not found", True],
    ),
    "side by side": (
        """const asked = ["local", "nobody"].map((name) => ask(socket, name, hi));
        outcomes.push(...(await Promise.all(asked.map(outcome))));""",
        ["string", "provider_not_found: Provider not found"],
    ),
    "cancelled": (
        """const stop = new AbortController();
        let shown = "";
        const onToken = (text) => { shown += text; stop.abort(); };
        const long = [{ role: "user", content: "Tell me a long story." }];
        const asked = ask(socket, "local", long, { onToken, signal: stop.signal });
        const text = await asked;
        outcomes.push(text === shown);""",
        [True],
    ),
    "wrong token": (
        """socket.auth = { token: "nonsense" };
        outcomes.push(await outcome(ask(socket, "local", hi)));""",
        ["Authentication token invalid"],
    ),
    "closed": (
        """await connected(socket);
        const asked = outcome(ask(socket, "local", hi));
        socket.disconnect();
        outcomes.push(await asked);""",
        ["Disconnected: io client disconnect"],
    ),
    "back, but not recovered": (
        """await connected(socket);
        const asked = outcome(ask(socket, "local", hi));
        socket._pid = undefined;
        socket.io.engine.close();
        outcomes.push(await asked);""",
        ["The connection was lost"],
    ),
    "lost": (
        """await connected(socket);
        const asked = outcome(ask(socket, "local", hi, { lostMs: 300 }));
        socket.io.uri = "http://127.0.0.1:9";
        socket.io.engine.close();
        outcomes.push(await asked);""",
        ["There is no connection to the server"],
    ),
    "too slow": (
        """await connected(socket);
        outcomes.push(await outcome(ask(socket, "local", hi, { answerMs: 1 })));""",
        ["The answer timed out"],
    ),
    "no server": (
        """socket.disconnect();
        socket.io.uri = "http://127.0.0.1:9";
        socket.connect();
        outcomes.push(await outcome(ask(socket, "local", hi, { lostMs: 300 })));""",
        ["There is no connection to the server"],
    ),
}


@pytest.mark.parametrize("play", PLAYS)
def test_ask_settles_whatever_happens_and_leaves_no_listener(
    server: LiveServer, tmp_path: Path, play: str
) -> None:
    steps, outcomes = PLAYS[play]
    code = DRIVER.replace("PLAY", steps)

    output = run(module(tmp_path, aimed_at(server, server.account(), code)))

    assert json.loads(output) == [*outcomes, 0]


def python(tmp_path: Path, code: str) -> list[str]:
    """Return the command for the page's Python program."""
    (tmp_path / "chat.py").write_text(code)
    return [sys.executable, str(tmp_path / "chat.py")]


def test_the_python_script_prints_an_answer(server: LiveServer, tmp_path: Path) -> None:
    code = script("docs/integration.md", "python", "# chat.py")

    output = run(python(tmp_path, aimed_at(server, server.account(), code)))

    assert re.fullmatch(r".+\n", output, re.DOTALL), output


def test_the_python_script_says_that_its_password_is_wrong(
    server: LiveServer, tmp_path: Path
) -> None:
    code = script("docs/integration.md", "python", "# chat.py")
    code = code.replace("THE PRINTED PASSWORD", "not the password")
    code = aimed_at(server, server.account(), code)

    status, complaint = complaint_of(python(tmp_path, code))

    assert status == 1
    assert complaint == "invalid_credentials: Username or password is wrong\n"


# Replaces the program's own `main`.
PYTHON_DRIVER = """
async def outcome(chat, provider, listen=lambda text: None):
    try:
        return await chat.ask(provider, [{"role": "user", "content": "Hi!"}], listen)
    except ChatError as error:
        return error.code


async def main():
    tokens = {"access": "EXPIRED", "refresh": "REFRESH"}
    chat, shown = Chat(tokens), []
    first = await outcome(chat, "local", shown.append)
    found = [first == "".join(shown) != "", chat.tokens != tokens]
    both = asyncio.gather(outcome(chat, "local"), outcome(chat, "nobody"))
    found += [len(await both), (await both)[1]]
    closing = []
    cut = lambda text: closing.append(asyncio.create_task(chat.close()))
    found.append(await outcome(chat, "local", cut))
    found.append(await outcome(Chat({"access": "nonsense"}), "local"))
    found.append(len(chat.queues))
    await asyncio.gather(*closing)
    print(json.dumps(found))
"""


def test_the_python_client_settles_whatever_happens(
    server: LiveServer, tmp_path: Path
) -> None:
    account = server.account()
    code = script("docs/integration.md", "python", "# chat.py")
    begin, end = code.index("async def main"), code.index('if __name__ == "__main__"')
    driver = PYTHON_DRIVER.replace("EXPIRED", expired(server, account))
    driver = driver.replace("REFRESH", account.refresh)
    code = f"import json\n{code[:begin]}{driver}\n\n{code[end:]}"

    output = run(python(tmp_path, aimed_at(server, account, code)))

    refused = ["provider_not_found", "connection_lost", "token_invalid"]
    assert json.loads(output) == [True, True, 2, *refused, 0]


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


@needs_curl
def test_the_line_for_new_tokens_gets_them(server: LiveServer) -> None:
    account = server.account()
    line = script("docs/integration.md", "sh", "YOUR_REFRESH_TOKEN")
    line = line.replace("YOUR_REFRESH_TOKEN", account.refresh)

    answer = json.loads(run(["sh", "-c", aimed_at(server, account, line)]))

    assert answer.keys() == {"access", "refresh"}


@needs_curl
def test_a_rejected_line_says_why(server: LiveServer) -> None:
    line = script("docs/integration.md", "sh", "THE_MESSAGE_ID")
    command = ["sh", "-c", aimed_at(server, server.account(), line)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.returncode == 22
    assert json.loads(done.stdout)["code"] == "stream_not_found"
