"""The clients of the documentation, on connections that break and are refused.

Their `socket.io-client` talks to a script instead of a server:
`tests/js/scripted.cjs`.
"""

from __future__ import annotations

import json
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import socketio

from tests.support.live import ROOT
from tests.support.pages import script

SCRIPTED = ROOT / "tests" / "js" / "scripted.cjs"

DRIVER = """
import { server } from "socket.io-client";
import { ask, connect, fetchTokens } from "./llmchat.mjs";
const print = (found) => console.log(JSON.stringify(found));
const HI = [{ role: "user", content: "Hi!" }];
const WAIT = { lostMs: 20_000 };
const tokens = { access: "old", refresh: "r" };
const refreshed = [];
let answer = async () => Response.json({ access: "new", refresh: "next" });
globalThis.fetch = async (...request) => {
  refreshed.push(JSON.parse(request[1].body).refresh);
  return answer();
};
const until = async (isSo) => {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 20));
};
const outcome = (asked) => asked.catch((error) => error.message);
const asked = [];
const done = ({ sessionId }) =>
  server.emit("llm:stream:done", { sessionId, fullResponse: "Hello" }, "offset");
server.onEvent = (name, data) => {
  asked.push(name);
  done(data);
};
const socket = connect("http://server", tokens);
PLAY
socket.close();
"""

# What the stock client goes through when its WebSocket is lost: while it still polls,
# and when it has stopped polling.
LOSES_UPGRADES = """await until(() => socket.connected);
        const { engine } = socket.io;
        engine.emit("upgradeError", new Error("lost"));
        const stays = socket.connected;
        engine.upgrading = true;
        engine.emit("upgradeError", new Error("lost"));
        const leaves = !socket.connected;
        await until(() => socket.connected);
        print([stays, leaves, socket.recovered, server.left]);"""

PLAYS = {
    # The stock client gives up when it is refused; no question is open at that moment.
    "comes back after a refusal": (
        """await until(() => socket.connected);
        server.refusals.push({ code: "database_unavailable", retryAfter: 0.2 });
        server.lose();
        await until(() => server.refusals.length === 0);
        await until(() => socket.connected);
        print([socket.recovered, await outcome(ask(socket, "local", HI, WAIT))]);""",
        [True, "Hello"],
    ),
    "asks while it is refused": (
        """server.refusals.push({ code: "too_many_sockets" });
        await until(() => server.auths.length === 1);
        print([await outcome(ask(socket, "local", HI, WAIT)), asked.length]);""",
        ["Hello", 1],
    ),
    "comes back when it was sent away": (
        """await until(() => socket.connected);
        server.expel();
        await until(() => !socket.connected);
        await until(() => socket.connected);
        print([await outcome(ask(socket, "local", HI, WAIT))]);""",
        ["Hello"],
    ),
    "comes back when its WebSocket is lost in mid-upgrade": (
        LOSES_UPGRADES,
        [True, True, True, 0],
    ),
    "hears the end of an answer whose connection was refused meanwhile": (
        """await until(() => socket.connected);
        let request;
        server.onEvent = (name, data) => { request = data; };
        const waits = outcome(ask(socket, "local", HI, WAIT));
        await until(() => request);
        server.refusals.push({ code: "database_unavailable", retryAfter: 0.2 });
        server.lose();
        await until(() => server.auths.length === 3);
        await until(() => socket.connected);
        done(request);
        print([await waits]);""",
        ["Hello"],
    ),
    # The error says why there was no connection for so long.
    "says why it is refused for long": (
        """server.refusals.push({ code: "too_many_sockets", retryAfter: 60 });
        print([await outcome(ask(socket, "local", HI, { lostMs: 300 }))]);""",
        ["too_many_sockets"],
    ),
    "is refused for good": (
        """server.refusals.push({ code: "scope_missing" });
        print([await outcome(ask(socket, "local", HI, WAIT)), server.auths.length]);""",
        ["scope_missing", 1],
    ),
    "does not come back where it was closed": (
        """server.refusals.push({ code: "rate_limited", retryAfter: 0.2 });
        await until(() => server.auths.length === 1);
        socket.close();
        await new Promise((resolve) => setTimeout(resolve, 500));
        print([socket.active, server.auths.length]);""",
        [False, 1],
    ),
    # The question arrives before the server closes the connection for its token.
    "asks again with a new token": (
        """await until(() => socket.connected);
        server.onEvent = (name, data) => {
          asked.push([name, server.auths.at(-1).token]);
          if (asked.length > 1) return done(data);
          const { sessionId } = data;
          const error = { sessionId, code: "token_expired", error: "No" };
          server.refusals.push({ code: "token_expired" });
          server.emit("llm:stream:error", error, "offset");
        };
        const text = await outcome(ask(socket, "local", HI, WAIT));
        print([text, asked, refreshed, server.left]);""",
        [
            "Hello",
            [["llm:chat:stream", "old"], ["llm:chat:stream", "new"]],
            ["r"],
            0,
        ],
    ),
    "asks again once": (
        """await until(() => socket.connected);
        server.onEvent = (name, { sessionId }) => {
          asked.push(name);
          const error = { sessionId, code: "token_expired", error: "No" };
          server.emit("llm:stream:error", error, "offset");
        };
        print([await outcome(ask(socket, "local", HI, WAIT)), asked.length]);""",
        ["token_expired: No", 2],
    ),
    # An empty text must not pass for an answer.
    "fails where the answer takes too long, asked or not": (
        """server.refusals.push({ code: "rate_limited", retryAfter: 60 });
        const late = { lostMs: 20_000, answerMs: 100 };
        const never = await outcome(ask(socket, "local", HI, late));
        socket.connect();
        await until(() => socket.connected);
        server.onEvent = (name) => asked.push(name);
        const slow = await outcome(ask(socket, "local", HI, late));
        await until(() => asked.length === 2);
        print([never, slow, asked]);""",
        [
            "The answer timed out",
            "The answer timed out",
            ["llm:chat:stream", "llm:stream:cancel"],
        ],
    ),
    "keeps its refresh token whatever answers in the server's place": (
        """const answers = [
          new Response("<!doctype html><p>Log in to this network"),
          new Response("Who are you?", { status: 401 }),
          Response.json({ message: "who" }),
          Response.json({ access: "new", refresh: "next" }),
        ];
        answer = async () => answers.shift();
        for (const _ of answers) server.refusals.push({ code: "token_expired" });
        await until(() => socket.connected);
        print([refreshed, server.auths.map(({ token }) => token)]);""",
        [["r", "r", "r", "r"], ["old", "old", "old", "old", "new"]],
    ),
    "gives up where the server refuses its refresh token": (
        """answer = async () =>
          Response.json({ error: "No", code: "token_invalid" }, { status: 401 });
        server.refusals.push({ code: "token_expired" }, { code: "token_missing" });
        print([await outcome(ask(socket, "local", HI, WAIT)), refreshed]);""",
        ["token_missing", ["r"]],
    ),
    "takes no answer for one that is none of the server's": (
        """const outcomes = [];
        const bodies = ["<!doctype html>", "null", '"text"', '{"access": "cut',
          '{"message": "who"}', '{"access": "new"}'];
        for (const body of bodies) {
          answer = async () => new Response(body);
          outcomes.push(await outcome(fetchTokens("http://server/auth/token", {})));
        }
        print(outcomes);""",
        ["unreachable: The response is not from the server"] * 6,
    ),
    # If the client waited longer, the server would take its next try for a theft.
    "waits for new tokens no longer than ten seconds": (
        """const waits = [];
        AbortSignal.timeout = (ms) => {
          waits.push(ms);
          return new AbortController().signal;
        };
        server.refusals.push({ code: "token_expired" });
        await until(() => socket.connected);
        await fetchTokens("http://server/auth/token", {});
        print(waits);""",
        [10_000, 30_000],
    ),
    # A question that was given up is not asked, and not billed.
    "does not ask what was given up": (
        """server.refusals.push({ code: "rate_limited", retryAfter: 0.5 });
        const stop = new AbortController();
        const stopped = outcome(ask(socket, "local", HI, { signal: stop.signal }));
        const late = await outcome(ask(socket, "local", HI, { lostMs: 100 }));
        stop.abort();
        await until(() => socket.connected);
        await new Promise((resolve) => setTimeout(resolve, 100));
        print([late, await stopped, asked.length]);""",
        ["rate_limited", "", 0],
    ),
}


def run(directory: Path, name: str, code: str) -> str:
    """Run a program whose `socket.io-client` talks to the script."""
    package = directory / "node_modules" / "socket.io-client"
    package.mkdir(parents=True)
    # Exported one by one, so that modules can import them by name.
    source = f"const found = require({json.dumps(str(SCRIPTED))});\n"
    source += "exports.io = found.io;\nexports.server = found.server;\n"
    (package / "index.js").write_text(source)
    (directory / name).write_text(code)
    done = subprocess.run(
        ["node", str(directory / name)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("play", PLAYS)
def test_the_module_comes_back_by_itself(tmp_path: Path, play: str) -> None:
    steps, outcomes = PLAYS[play]
    client = script("docs/integration.md", "javascript", "// llmchat.mjs")
    (tmp_path / "llmchat.mjs").write_text(client)

    output = run(tmp_path, "play.mjs", DRIVER.replace("PLAY", steps))

    assert json.loads(output) == outcomes


def test_a_stock_client_comes_back_when_its_websocket_is_lost_in_mid_upgrade(
    tmp_path: Path,
) -> None:
    code = """
    const { io, server } = require("socket.io-client");
    const socket = io("http://server");
    const print = (found) => console.log(JSON.stringify(found));
    const until = async (isSo) => {
      while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 20));
    };
    """
    code += script("docs/socketio.md", "javascript", "upgradeError")
    code += f"(async () => {{ {LOSES_UPGRADES} socket.close(); }})();"

    output = run(tmp_path, "script.cjs", code)

    assert json.loads(output) == [True, True, True, 0]


def program() -> dict[str, Any]:
    """Return what the Python program of the integration page defines."""
    found: dict[str, Any] = {"__name__": "chat"}
    exec(script("docs/integration.md", "python", "# chat.py"), found)
    return found


PAIR = '{"access": "new", "refresh": "next"}'
NOT_OURS = "unreachable: The response is not from the server"
INVALID = '{"error": "No", "code": "token_invalid"}'


@pytest.mark.parametrize(
    ("lost", "status", "body", "told"),
    [
        (0, 200, "<!doctype html>", NOT_OURS),
        (0, 200, "null", NOT_OURS),
        (0, 200, '{"message": "who"}', NOT_OURS),
        (0, 200, '{"access": "new"}', NOT_OURS),
        (0, 302, "", "302: Found"),
        (0, 401, "Who are you?", "401: Unauthorized"),
        (0, 502, '{"message": "No"}', "502: Bad Gateway"),
        (0, 401, INVALID, "token_invalid: No"),
        (1, 401, INVALID, "token_invalid: No"),
        (3, 200, PAIR, "unreachable: The server cannot be reached"),
    ],
)
async def test_the_python_program_keeps_its_tokens_whatever_answers(
    monkeypatch: pytest.MonkeyPatch, lost: int, status: int, body: str, told: str
) -> None:
    defined = program()
    asked = answered_by(monkeypatch, lost, status, body)
    tokens = {"access": "old", "refresh": "r"}
    chat = refused_chat(monkeypatch, defined, tokens)

    with pytest.raises(defined["ChatError"]) as failed:
        await chat.connect()

    assert (str(failed.value), chat.tokens) == (told, tokens)
    # If the client waited longer, the server would take its next try for a theft.
    assert asked == [("r", 10)] * min(lost + 1, 3)


@pytest.mark.parametrize("lost", [0, 2])
async def test_the_python_program_gets_tokens_though_some_are_lost(
    monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    defined = program()
    asked = answered_by(monkeypatch, lost, 200, PAIR)
    chat = refused_chat(monkeypatch, defined, {"access": "old", "refresh": "r"})

    with pytest.raises(defined["ChatError"], match="token_expired"):
        await chat.connect()

    assert chat.tokens == json.loads(PAIR)
    assert asked == [("r", 10)] * (lost + 1)


def answered_by(
    monkeypatch: pytest.MonkeyPatch, lost: int, status: int, body: str
) -> list[tuple[str, float]]:
    """Answer each refresh like this; return a list of the tokens sent and their limits.

    The first `lost` answers are lost. A limit is how long the program waits.
    """
    asked: list[tuple[str, float]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        wait = request.extensions["timeout"]["read"]
        asked.append((json.loads(request.content)["refresh"], wait))
        if len(asked) <= lost:
            raise httpx.ReadTimeout("", request=request)
        return httpx.Response(status, text=body)

    client = partial(httpx.AsyncClient, transport=httpx.MockTransport(answer))
    monkeypatch.setattr(httpx, "AsyncClient", client)
    return asked


def refused_chat(
    monkeypatch: pytest.MonkeyPatch, defined: dict[str, Any], tokens: dict[str, str]
) -> Any:
    """Return the program's chat, whose access token is always an expired one."""
    defined["RETRY_S"] = 0
    chat = defined["Chat"](tokens)

    async def refuse(*_: object, **__: object) -> None:
        chat.refusal = ("token_expired", "No")
        raise socketio.exceptions.ConnectionError

    monkeypatch.setattr(chat.socket, "connect", refuse)
    return chat


def test_the_first_script_asks_once_though_its_connection_is_lost_for_a_moment(
    tmp_path: Path,
) -> None:
    code = script("README.md", "javascript", "my-first-stream")
    code += """
    const { server } = require("socket.io-client");
    const asked = [];
    process.on("exit", () => console.log(JSON.stringify(asked)));
    server.onEvent = (name, { sessionId }) => {
      asked.push(name);
      if (asked.length > 1) return;
      server.lose();
      socket.once("connect", () => setTimeout(() => {
        server.emit("llm:stream:done", { sessionId, tokenCount: 2 }, "offset");
      }, 200));
    };
    """

    output = run(tmp_path, "script.cjs", code)

    assert output.split() == ["Done!", "Tokens:", "2", '["llm:chat:stream"]']
