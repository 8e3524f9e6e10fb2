"""What relaying a token costs: this server beside a bare relay on plain httpx.

Both run under uvicorn with the same options, get the same answers from the same
provider, and are measured by turns, so that whatever else the machine does meets both.
The bare relay neither checks a token nor stores anything; what stands between the two
is what accounts, books, limits, retries and Socket.IO cost.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.support import live

TURNS = 60  # for the latency, one at a time, in each round
ROUNDS = 4
STREAMS = 60  # for the load, all at once
PIECES = 120
EVERY_MS = 33
TARGET_MS = 1.0
_LENGTH_S = PIECES * EVERY_MS / 1000
_TICKS = os.sysconf("SC_CLK_TCK")
_NS_PER_MS = 1e6
_UVICORN = (
    *("--loop", "uvloop", "--ws", "websockets-sansio", "--host", "127.0.0.1"),
    *("--ws-per-message-deflate", "false", "--log-level", "warning"),
)


@dataclass(slots=True)
class Samples:
    """Milliseconds of every turn, and the CPU time of the server.

    `start` runs from the client's question to its arrival at the provider, `relay`
    from the provider's first piece to its arrival at the client, `first` over both;
    `loaded` is `relay` for every piece while many streams run.
    """

    start: list[float] = field(default_factory=list)
    relay: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    loaded: list[float] = field(default_factory=list)
    token_us: list[float] = field(default_factory=list)
    turn_ms: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Subject:
    """One of the two servers: how it is asked, and what it says."""

    name: str
    pid: int
    url: str
    greeting: str
    question: Callable[[str, str], str]
    samples: Samples = field(default_factory=Samples)


def main() -> None:
    """Measure both and print a table with the ratios."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        base_url = stack.enter_context(_upstream())
        ours = stack.enter_context(_ours(directory, base_url))
        bare = stack.enter_context(_bare(base_url))
        asyncio.run(_measure([bare, ours]))
    _print(ours.samples, bare.samples)


async def _measure(subjects: list[Subject]) -> None:
    for subject in subjects:
        await _one_by_one(subject, Samples(), 10)  # what the first turn loads
    for _ in range(ROUNDS):
        for subject in subjects:
            await _one_by_one(subject, subject.samples, TURNS)
    for _ in range(2):
        for subject in subjects:
            await _all_at_once(subject)


async def _one_by_one(subject: Subject, samples: Samples, turns: int) -> None:
    async with _connected(subject) as connection:
        for _ in range(turns):
            asked = time.monotonic_ns()
            model = "bench-3-0"
            await connection.send(subject.question(model, f"turn-{asked}"))
            pieces = [piece async for piece in _pieces(connection)]
            arrived, (received, sent, *_) = pieces[0]
            samples.start.append((received - asked) / _NS_PER_MS)
            samples.relay.append((arrived - sent) / _NS_PER_MS)
            samples.first.append((arrived - asked) / _NS_PER_MS)


async def _all_at_once(subject: Subject) -> None:
    """Run all streams; measure the CPU time in the middle and the delays."""
    samples = subject.samples
    model = f"bench-{PIECES}-{EVERY_MS}"
    delays: list[float] = []

    async def one(number: int) -> None:
        async with _connected(subject) as connection:
            await asyncio.sleep(number * EVERY_MS / 1000 / STREAMS)
            name = f"load-{number}-{time.monotonic_ns()}"
            await connection.send(subject.question(model, name))
            async for arrived, stamps in _pieces(connection):
                delays.append((arrived - stamps[-1]) / _NS_PER_MS)

    async def middle() -> float:
        await asyncio.sleep(_LENGTH_S * 0.4)
        cpu_s, count = _cpu_s(subject.pid), len(delays)
        await asyncio.sleep(_LENGTH_S * 0.4)
        return (_cpu_s(subject.pid) - cpu_s) / (len(delays) - count)

    before = _cpu_s(subject.pid)
    for_token, *_ = await asyncio.gather(middle(), *map(one, range(STREAMS)))
    whole = _cpu_s(subject.pid) - before
    samples.loaded += delays
    samples.token_us.append(for_token * 1e6)
    samples.turn_ms.append((whole - for_token * len(delays)) / STREAMS * 1e3)


@asynccontextmanager
async def _connected(subject: Subject) -> AsyncIterator[ClientConnection]:
    async with connect(subject.url, compression=None) as connection:
        if subject.greeting:
            await connection.recv()
            await connection.send(subject.greeting)
            await connection.recv()
        yield connection


async def _pieces(
    connection: ClientConnection,
) -> AsyncIterator[tuple[int, list[int]]]:
    """Yield the arrival of each piece of an answer, with the stamps that it carries."""
    while True:
        text = str(await connection.recv())
        arrived = time.monotonic_ns()
        if '"token":"' in text or '"token": "' in text:
            stamps = text.split('"token":')[1].split('"')[1].split()
            yield arrived, [int(stamp) for stamp in stamps]
        elif '"done"' in text or ":done" in text:
            return
        elif ":error" in text:
            raise RuntimeError(text)
        elif text == "2":
            await connection.send("3")


def _cpu_s(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(stat[11]) + int(stat[12])) / _TICKS


@contextmanager
def _upstream() -> Iterator[str]:
    port = live.free_port()
    command = [sys.executable, "-m", "benchmarks.relay_upstream", str(port)]
    with _process(command, dict(os.environ)) as process:
        assert process.stdout is not None
        if process.stdout.readline() != b"up\n":
            raise RuntimeError("the provider did not start")
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def _ours(directory: Path, base_url: str) -> Iterator[Subject]:
    env = {
        "DJANGO_DEBUG": "0",
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": "sk-benchmark",
        "LLMCHAT_MESSAGES_PER_MINUTE": "0",
        "LLMCHAT_MAX_STREAMS_PER_USER": "1000",
    }
    seed = live.seed_database(directory, users=1)
    server = live.start_server("uvicorn", seed, directory / "server", env=env)
    token = server.account().access

    def question(model: str, name: str) -> str:
        fields = {"sessionId": name, "provider": "openai", **_body(model, name)}
        return "42" + json.dumps(["llm:chat:stream", fields])

    try:
        yield Subject(
            "llmchat",
            server.process.pid,
            f"ws://127.0.0.1:{server.port}/socket.io/?EIO=4&transport=websocket",
            "40" + json.dumps({"token": token}),
            question,
        )
    finally:
        server.stop()


@contextmanager
def _bare(base_url: str) -> Iterator[Subject]:
    port = live.free_port()
    app = "benchmarks.relay_bare:application"
    command = [sys.executable, "-m", "uvicorn", app, *_UVICORN, "--port", str(port)]
    env = {**os.environ, "OPENAI_BASE_URL": base_url}

    def question(model: str, name: str) -> str:
        return json.dumps({**_body(model, name), "stream": True})

    with _process([*command, "--lifespan", "off"], env) as process:
        _wait_for(port)
        url = f"ws://127.0.0.1:{port}/"
        yield Subject("bare relay", process.pid, url, "", question)


def _body(model: str, name: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": name}]}


@contextmanager
def _process(
    command: list[str], env: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command,
        cwd=live.ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(live.STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _wait_for(port: int) -> None:

    deadline = time.monotonic() + live.START_LIMIT_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the bare relay did not start")


def _print(ours: Samples, bare: Samples) -> None:
    print(f"{'relay':<38}{'llmchat':>10}{'bare':>10}{'ratio':>8}")
    rows = [
        ("question to provider", ours.start, bare.start),
        ("first token, provider to client", ours.relay, bare.relay),
        ("question to first token", ours.first, bare.first),
        (
            f"token, {STREAMS} streams at {1000 // EVERY_MS} a second",
            ours.loaded,
            bare.loaded,
        ),
    ]
    for name, our, their in rows:
        for percent in (50, 99):
            _row(
                f"{name}, p{percent} ms",
                _percentile(our, percent),
                _percentile(their, percent),
            )
    mean = statistics.fmean
    _row("CPU, us for a token", mean(ours.token_us), mean(bare.token_us))
    _row("CPU, ms for a turn besides", mean(ours.turn_ms), mean(bare.turn_ms))
    before = statistics.median(ours.start) - statistics.median(bare.start)
    added = statistics.median(ours.relay) - statistics.median(bare.relay)
    verdict = "within" if added <= TARGET_MS else "MISSES"
    print(f"checking and storing a turn before calling the provider: {before:+.2f} ms")
    print(f"the first token on its way to the client: {added:+.2f} ms,", end=" ")
    print(f"{verdict} {TARGET_MS} ms")


def _row(name: str, our: float, their: float) -> None:
    print(f"{name:<38}{our:>10.2f}{their:>10.2f}{our / their:>8.2f}", flush=True)


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


if __name__ == "__main__":
    main()
