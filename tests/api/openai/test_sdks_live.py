"""OpenAI's own SDKs, today's and last year's, against a server as it is shipped."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support import live
from tests.support.live import LiveServer
from tests.support.upstream import Step, Upstream, running_upstream

JS = live.ROOT / "tests" / "js"
OLD = str(Path(sys.prefix) / "sdk-2025")
LIMIT_S = 120
CALL = {
    "index": 0,
    "id": "call_1",
    "type": "function",
    "function": {"name": "look", "arguments": '{"at":"sky"}'},
}
RESPONSE_EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


class Obedient(Upstream):
    """Does what the question says, so that one script can try everything."""

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        said = self.requests[-1]["messages"][-1]["content"]
        steps: dict[str, tuple[Step, ...]] = {
            "cut": ("Hel",),
            "tools": ({"choices": [{"delta": {"tool_calls": [CALL]}}]},),
            "wait": ("Hel", asyncio.Event()),
        }
        self.steps, self.cut = steps.get(said, ("Hel", "lo")), said == "cut"
        self.reason = "tool_calls" if said == "tools" else "stop"
        await super()._answer(writer)


@pytest.fixture
async def obedient(upstream_port: int) -> AsyncIterator[Upstream]:
    async with running_upstream(upstream_port, Obedient()) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def sdk_server(
    start_server: Callable[..., LiveServer], upstream_env: dict[str, str]
) -> Iterator[LiveServer]:
    server = start_server(
        env={**upstream_env, "LLMCHAT_MESSAGES_PER_MINUTE": "0"},
    )
    prices = "input_price = 1000, output_price = 2000"
    server.change(f"UPDATE llmchat_provider SET {prices} WHERE name = 'openai'")
    server.change("UPDATE llmchat_revision SET word = ?", uuid4().hex)
    yield server
    assert "Traceback" not in server.log_text(), server.log


async def report_of(*command: str, **environment: str) -> dict[str, Any]:
    return dict(json.loads(await output_of(*command, **environment)))


async def output_of(*command: str, **environment: str) -> str:
    """Run a program and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
    return output.decode()


@pytest.mark.parametrize(
    ("version", "path"), [("3.", ""), ("2.", OLD)], ids=["today", "a-year-ago"]
)
async def test_the_python_sdk(
    sdk_server: LiveServer, obedient: Upstream, version: str, path: str
) -> None:
    script = Path(__file__).with_name("sdk_script.py")
    token = sdk_server.account().access
    report = await report_of(
        *(sys.executable, str(script), sdk_server.url, token), PYTHONPATH=path
    )

    assert report.pop("version").startswith(version)
    await expect(report, obedient)


@pytest.mark.parametrize(
    ("version", "package"), [("7.", "openai"), ("6.", "openai-2025")]
)
async def test_the_node_sdk(
    sdk_server: LiveServer, obedient: Upstream, version: str, package: str
) -> None:
    token = sdk_server.account().access
    report = await report_of(
        *("node", str(JS / "openai.cjs"), sdk_server.url, token, package)
    )

    assert report.pop("version").startswith(version)
    await expect(report, obedient)


async def expect(report: dict[str, Any], upstream: Upstream) -> None:
    """Check what a script has seen, and which requests reached the provider."""
    default = "openai/gpt-6-luna"
    cut = ["APIError", None, "provider_error", None]
    names = report["models"].pop("names")
    assert names[0] == default
    assert "openai/gpt-5.5" in names
    assert all(name.startswith("openai/") for name in names)
    assert report["models"] == {
        "one": default,
        "none": ["NotFoundError", 404, "model_not_found", "model"],
    }
    assert report["whole"] == {
        "text": "Hello",
        "reason": "stop",
        "usage": [7, 3],
        "has_id": True,
        "cost": "0.013",
        "conversation": 36,
    }
    assert report["streamed"] == {
        "text": "Hello",
        "reasons": ["stop"],
        "usage": [10],
        "cost": 0.013,
    }
    assert report["cut"] == {"error": cut, "text": "Hel", "ends": []}
    assert report["refused"] == {
        "key": ["AuthenticationError", 401, "token_invalid", None],
        "model": ["NotFoundError", 404, "model_not_found", "model"],
        "n": ["BadRequestError", 400, "bad_request", "n"],
        "cut": ["InternalServerError", 502, "provider_error", None],
    }
    assert report["responded"] == {
        "text": "Hello",
        "status": "completed",
        "usage": 10,
        "goes_on": True,
        "has_id": True,
    }
    assert list(dict.fromkeys(report["response_events"]["types"])) == RESPONSE_EVENTS
    assert report["response_events"]["text"] == "Hello"
    assert report["response_events"]["numbered"]
    assert report["response_cut"] == {"error": cut, "last": "response.failed"}
    assert report["closed"] == "Hel"
    async with asyncio.timeout(20):
        await upstream.hung_up.wait()
    said = [request["messages"][-1]["content"] for request in upstream.requests]
    # An answer that is billed is not asked for again by itself.
    assert said.count("cut") == 3
    expect_passed_through(report, upstream.requests)


def expect_passed_through(
    report: dict[str, Any], requests: list[dict[str, Any]]
) -> None:
    """Check that options, tools, calls and their results reach the provider."""
    arguments = '{"at":"sky"}'
    assert report["tools"] == {
        "whole": ["tool_calls", "look", arguments],
        "streamed": ["look", arguments],
        "reason": "tool_calls",
        "last": "Hello",
    }
    first, results = requests[0], requests[4]
    assert (first["model"], first["stop"], first["seed"]) == ("gpt-test", ["END"], 7)
    assert first["max_completion_tokens"] == 50
    assert results["tools"][0]["function"]["name"] == "look"
    call, result = results["messages"][-2:]
    assert call["tool_calls"][0]["function"] == {"name": "look", "arguments": arguments}
    assert result == {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}


async def test_a_tool_that_nobody_here_wrote(
    sdk_server: LiveServer, obedient: Upstream, tmp_path: Path
) -> None:
    common = {
        "model_name": "openai/gpt-test",
        "api_base": f"{sdk_server.url}/v1",
        "api_key_name": "mine",
    }
    models = [
        common | {"model_id": "mine"},
        common | {"model_id": "typed", "responses": True},
    ]
    # JSON is YAML.
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps(models))
    # Load no plugins: our built-in model's package is one, and lacks a dependency.
    environment = {"LLM_USER_PATH": str(tmp_path), "LLM_LOAD_PLUGINS": ""}
    command = (sys.executable, "-m", "llm", "--key", sdk_server.account().access)

    first = await output_of(*command, "-m", "mine", "Hi", **environment)
    more = await output_of(*command, "-m", "typed", "-c", "More", **environment)

    assert (first, more) == ("Hello\n", "Hello\n")
    texts = [message["content"] for message in obedient.requests[1]["messages"]]
    assert texts == ["Hi", "Hello", "More"]
    query = "SELECT message_count FROM llmchat_conversation ORDER BY updated_at DESC"
    assert sdk_server.rows(query)[0] == (4,)
