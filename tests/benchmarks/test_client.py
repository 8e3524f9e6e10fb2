"""The clients that make the load notice what a server does wrong."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from benchmarks import cluster
from benchmarks.loads import FAULTS, faults

ARGUMENTS = ("1", "websocket", "once", "0", "t3r0", "1", "0")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("load")
    cluster.build(directory)
    (directory / "tokens").write_text("a.b.c\n")
    return directory


async def seen_of(programs: Path, events: Iterable[str]) -> dict[str, Any]:
    """Return what a client saw of a server that answers with these events.

    A number is a token; `close` closes the connection.
    """

    async def handle(connection: ServerConnection) -> None:
        await connection.send('0{"sid":"x"}')
        await connection.recv()
        await connection.send('40{"sid":"y"}')
        turn = str(await connection.recv())
        found = re.search('"sessionId":"([^"]+)"', turn)
        assert found
        for event in events:
            if event == "close":
                await connection.close()
            else:
                await connection.send(_packet(event, found[1]))
        await connection.wait_closed()

    async with serve(handle, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        command = [str(programs / "client"), str(port), str(programs / "tokens")]
        process = await asyncio.create_subprocess_exec(
            *command,
            *ARGUMENTS,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output, _ = await process.communicate()
    seen: dict[str, Any] = json.loads(output.splitlines()[-1])
    return seen


def _packet(event: str, session_id: str) -> str:
    fields = {"sessionId": session_id}
    if event.isdigit():
        stamp = time.monotonic_ns() // 1000
        fields["token"] = f"{event}:{stamp} "
        event = "token"
    packet = [f"llm:stream:{event}", fields]
    return "42" + json.dumps(packet, separators=(",", ":"))


async def seen_of_openai(
    programs: Path, transport: str, *responses: str
) -> dict[str, Any]:
    """Return what a client saw of a server of OpenAI's API with these responses."""
    asked: list[bytes] = []

    async def handle(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        for response in responses:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"Content-Length: (\d+)", head)
            assert length
            asked.append(head + await reader.readexactly(int(length[1])))
            body = response.encode()
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        await reader.read()  # until the client hangs up
        writer.close()

    arguments = ("1", transport, "closed", str(len(responses)), "t3r0", "1", "0")
    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            *(str(programs / "client"), str(port), str(programs / "tokens")),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output, _ = await process.communicate()
    for request in asked:
        assert request.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
        assert b"\r\nAuthorization: Bearer a.b.c\r\n" in request
        body = json.loads(request.partition(b"\r\n\r\n")[2])
        assert body["model"] == "openai/t3r0"
        assert body.get("stream", False) is (transport == "openai-sse")
    seen: dict[str, Any] = json.loads(output.splitlines()[-1])
    return seen


def _chunks(*numbers: int, end: str = "[DONE]") -> str:
    """Return an answer of OpenAI's API as server-sent events."""
    stamp = time.monotonic_ns() // 1000
    deltas = [{"content": f"{number}:{stamp} "} for number in numbers]
    chunks = [json.dumps({"choices": [{"delta": delta}]}) for delta in (*deltas, {})]
    return "".join(f"data: {data}\n\n" for data in (*chunks, end))


def _completion(*numbers: int) -> str:
    """Return a whole answer of OpenAI's API."""
    stamp = time.monotonic_ns() // 1000
    text = "".join(f"{number}:{stamp} " for number in numbers)
    return json.dumps({"choices": [{"message": {"content": text}}]})


@pytest.mark.parametrize(
    ("transport", "answer"), [("openai-sse", _chunks), ("openai-rest", _completion)]
)
async def test_answers_of_openai_are_read(
    programs: Path, transport: str, answer: Any
) -> None:
    whole = answer(0, 1, 2)
    seen = await seen_of_openai(programs, transport, whole, whole)

    assert faults(seen) == {}
    assert (seen["done"], seen["tokens"]) == (2, 6)
    assert 0 < seen["first_ms"][0] <= seen["whole_ms"][0] < 1000


@pytest.mark.parametrize(
    ("transport", "answer", "fault"),
    [
        ("openai-sse", _chunks(0, 2), {"lost": 1}),
        ("openai-sse", _chunks(0, 1), {"lost": 1}),
        ("openai-sse", _chunks(0, 1, 1, 2), {"doubled": 1}),
        ("openai-sse", _chunks(0, end='{"error": {}}'), {"errors": 1}),
        ("openai-sse", _chunks(end='{"error": {}}'), {"refused": 1}),
        ("openai-sse", _chunks(0, 1, 2) + _chunks(), {"strange": 2}),
        ("openai-rest", _completion(0, 1), {"lost": 1}),
        ("openai-rest", '{"error": {"code": "x"}}', {"refused": 1}),
    ],
    # The answers contain the time, which differs from one process to the next.
    ids=count(),
)
async def test_a_fault_of_openai_is_counted(
    programs: Path, transport: str, answer: str, fault: dict[str, int]
) -> None:
    seen = await seen_of_openai(programs, transport, answer)

    assert faults(seen) == fault


async def test_a_whole_answer_is_without_fault(programs: Path) -> None:
    seen = await seen_of(programs, ["start", "0", "1", "2", "done"])

    assert faults(seen) == {}
    assert (seen["done"], seen["tokens"], seen["window_tokens"]) == (1, 3, 3)
    assert 0 < seen["delay_ms"][0] < seen["first_ms"][0] < 1000


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        (["start", "0", "2", "done"], {"lost": 1}),
        (["start", "0", "1", "done"], {"lost": 1}),
        (["start", "0", "1", "1", "2", "done"], {"doubled": 1}),
        (["start", "0", "1", "2", "done", "done"], {"strange": 1}),
        (["start", "0", "1", "2", "done", "2"], {"strange": 1}),
        (["start", "0", "error"], {"errors": 1}),
        (["error"], {"refused": 1}),
        (["start", "0", "close"], {"closed": 1}),
    ],
)
async def test_a_fault_is_counted(
    programs: Path, events: list[str], fault: dict[str, int]
) -> None:
    seen = await seen_of(programs, events)

    assert faults(seen) == fault
    assert set(fault) < set(FAULTS)
