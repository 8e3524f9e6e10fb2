"""The scripts of the documentation do what the documentation says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import jwt
import pytest

from tests.support import live
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


def complaint_of(tmp_path: Path, code: str) -> tuple[int, str]:
    """Run a script that cannot succeed; return its status and what it prints."""
    file = tmp_path / "script.cjs"
    file.write_text(code)
    done = subprocess.run(
        ["node", str(file)],
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

    _, complaint = complaint_of(tmp_path, code.replace("YOUR ACCESS TOKEN", token))

    wrong = "invalid" if token else "missing"
    assert complaint == f"Cannot connect: Authentication token {wrong}\n"


def test_the_node_script_says_that_its_password_is_wrong(
    server: LiveServer, tmp_path: Path
) -> None:
    code = script("docs/integration.md", "javascript", "async function main")
    code = code.replace("THE PRINTED PASSWORD", "not the password")

    status, complaint = complaint_of(tmp_path, aimed_at(server, server.account(), code))

    assert status == 1
    assert len(complaint.splitlines()) == 1


def expired(server: LiveServer, account: Account) -> str:
    """Return the access token of an account as it is after half an hour."""
    claims = jwt.decode(account.access, options={"verify_signature": False})
    secret = live.environment(server.database)["DJANGO_SECRET_KEY"]
    return str(jwt.encode({**claims, "exp": 1}, secret, algorithm="HS256"))


def with_expired_token(server: LiveServer, account: Account, refresh: str) -> str:
    """Return the script of the integration page, its token expired once it has it."""
    code = script("docs/integration.md", "javascript", "async function main")
    late = f'tokens = {{ ...tokens, access: "{expired(server, account)}", {refresh} }};'
    code = code.replace("  const socket =", f"  {late}\n  const socket =")
    return aimed_at(server, account, code)


def test_the_node_script_refreshes_a_token_that_has_expired(
    server: LiveServer, tmp_path: Path
) -> None:
    file = tmp_path / "script.cjs"
    file.write_text(with_expired_token(server, server.account(), ""))
    assert run(["node", str(file)]).strip()


def test_the_node_script_gives_up_where_the_refresh_token_has_expired_too(
    server: LiveServer, tmp_path: Path
) -> None:
    code = with_expired_token(server, server.account(), 'refresh: "nonsense"')
    status, complaint = complaint_of(tmp_path, code)
    assert (status, complaint) == (1, "Authentication token missing\n")


# Takes the place of the script's own `main`.
DRIVER = """
const EVENTS = ["connect", "disconnect", "connect_error",
  "llm:stream:done", "llm:stream:error", "llm:stream:cancelled"];
const hi = [{ role: "user", content: "Hi!" }];
const connected = (socket) => new Promise((done) => socket.once("connect", done));
const outcome = (asked) => asked.then((text) => typeof text, (error) => error.message);
async function drive() {
  const socket = io(SERVER, { auth: { token: "YOUR ACCESS TOKEN" } });
  const outcomes = [];
  PLAY
  const left = EVENTS.flatMap((event) => socket.listeners(event));
  console.log(JSON.stringify([...outcomes, left.length]));
  socket.close();
}
drive();
"""
PLAYS = {
    "one after another": (
        """outcomes.push(await outcome(ask(socket, "local", hi)));
        outcomes.push(await outcome(ask(socket, "nobody", hi)));
        outcomes.push(await outcome(ask(socket, "local", hi)));""",
        ["string", "provider_not_found: Provider not found", "string"],
    ),
    "side by side": (
        """const asked = ["local", "nobody"].map((name) => ask(socket, name, hi));
        outcomes.push(...(await Promise.all(asked.map(outcome))));""",
        ["string", "provider_not_found: Provider not found"],
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
    "too slow": (
        """await connected(socket);
        outcomes.push(await outcome(ask(socket, "local", hi, 1)));""",
        ["The answer timed out"],
    ),
    "no server": (
        """socket.disconnect();
        socket.io.uri = "http://127.0.0.1:9";
        socket.connect();
        outcomes.push(await outcome(ask(socket, "local", hi, 300)));""",
        ["The answer timed out"],
    ),
}


@pytest.mark.parametrize("play", PLAYS)
def test_ask_settles_whatever_happens_and_leaves_no_listener(
    server: LiveServer, tmp_path: Path, play: str
) -> None:
    steps, outcomes = PLAYS[play]
    code = script("docs/integration.md", "javascript", "async function main")
    code = code[: code.rindex("main()")] + DRIVER.replace("PLAY", steps)
    file = tmp_path / "script.cjs"
    file.write_text(aimed_at(server, server.account(), code))

    assert json.loads(run(["node", str(file)])) == [*outcomes, 0]


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
