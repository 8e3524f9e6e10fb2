"""Clients whose connections keep breaking, and workers without sticky sessions.

    python -m tests.jitter --clients 100 --seconds 60 --workers 2 --reset-every 15

Each of the stock clients asks one question after another. Their connections are reset
at random, and each time they reconnect to another worker. What each client receives is
compared with what it should receive: the whole text, nothing twice, one start and one
end.

During the run, workers can be killed (`--kill-every`) or restarted one after another,
as in a deploy (`--restart-every`), and Redis can be killed and stopped by turns, for a
second each (`--redis-down-every`). An answer whose worker dies may end as interrupted.

What may not be is in `tests/support/jitter_limits.py`, and the run fails if it was: the
reasons are in `wrong`. A client that the server has forgotten is `hanging`, with what
happened to it in `hangingTrails`. The stock client may also fall silent by itself,
until it misses a ping: that is `muted`. A question that was lost on its way, before it
was acknowledged, is asked again (`askedAgain`). A client whose socket is not recovered
is `fresh`, and attaches to its answer (`reattached`). `turnedAway` counts refused
connections, which the stock client does not repeat by itself. `lostTextS` is the age of
the oldest text that a stored answer lacks, at the moment when its worker died.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import (
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    closing,
    suppress,
)
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from tests.postgres import running_postgres, seed_postgres
from tests.proxy import Proxy
from tests.support import live
from tests.support.jitter_limits import Faults, wrong
from tests.support.numbers import Numbers
from tests.support.redis_server import RedisServer

SCRIPT = Path(__file__).parent / "js" / "jitter.cjs"
GRACE_S = 150.0
REDIS_AWAY_S = 1.0
# A question, and the state and the text of its answer.
Answer = tuple[str, str, str]
# How long the answers of a dead worker count as running, and some time to end them.
LEASE_S = 90.0
ANSWERS = (
    "SELECT question.content, answer.state, answer.content"
    " FROM llmchat_message AS answer JOIN llmchat_message AS question"
    " ON question.conversation_id = answer.conversation_id"
    " AND question.position = answer.position - 1 WHERE answer.role = 'assistant'"
)


class Fleet:
    """The workers, which share one database and one Redis."""

    def __init__(self, directory: Path, env: dict[str, str], seed: live.Seed) -> None:
        self._directory, self._env, self._seed = directory, env, seed
        self._workers: list[live.LiveServer] = []
        self._started = 0
        self.done: Counter[str] = Counter()
        self.tracebacks = 0
        self.told: Counter[str] = Counter()

    @property
    def ports(self) -> list[int]:
        """The ports of the workers."""
        return [worker.port for worker in self._workers]

    def start(self, count: int) -> None:
        """Start `count` workers."""
        for _ in range(count):
            self._workers.append(self._start())

    def stop(self) -> None:
        """Stop all workers."""
        for worker in self._workers:
            worker.stop()
            self._read_log(worker)

    def _start(self, port: int | None = None) -> live.LiveServer:
        self._started += 1
        place = self._directory / f"worker{self._started}"
        return live.start_server("uvicorn", self._seed, place, env=self._env, port=port)

    async def kill_one(self, turn: int) -> None:
        """Kill a worker, and start another in its place."""
        await self._replace(random.randrange(len(self._workers)), signal.SIGKILL)
        self.done["killed"] += 1

    async def restart_next(self, turn: int) -> None:
        """Stop a worker as a deploy does, and start another in its place."""
        await self._replace(turn % len(self._workers), signal.SIGTERM)
        self.done["restarted"] += 1

    async def _replace(self, index: int, how: int) -> None:
        worker = self._workers[index]
        worker.process.send_signal(how)
        await asyncio.to_thread(worker.process.wait)
        self._read_log(worker)
        self._workers[index] = await asyncio.to_thread(self._start, worker.port)

    def _read_log(self, worker: live.LiveServer) -> None:
        log = worker.log_text()
        self.tracebacks += log.count("Traceback")
        told = re.findall(r"(?:WARNING|ERROR) (.{,90})", log)
        self.told.update(re.sub(r"\d+", "#", text) for text in told)


class Outage:
    """Makes Redis unavailable."""

    def __init__(self, redis: RedisServer, done: Counter[str]) -> None:
        self._redis, self._done = redis, done

    async def one(self, turn: int) -> None:
        """Kill Redis or suspend it, in turns, for a second."""
        away = self._redis.stopped() if turn % 2 else self._redis.down()
        with away:
            await asyncio.sleep(REDIS_AWAY_S)
        self._done["outages of redis"] += 1


@asynccontextmanager
async def repeated(
    work: Callable[[int], Awaitable[None]], every_s: float | None
) -> AsyncIterator[None]:
    """Do something again and again, at random moments; never if `every_s` is None."""

    over = asyncio.Event()

    async def repeat(every_s: float) -> None:
        for turn in count():
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), every_s * random.uniform(0.5, 1.5))
            if over.is_set():
                return
            await work(turn)

    if every_s is None:
        yield
        return
    task = asyncio.create_task(repeat(every_s))
    try:
        yield
    finally:
        # Work that has begun is finished: a worker that it starts must be stopped, too.
        over.set()
        await task


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the clients and the faults; return what the clients counted."""
    numbers = Numbers(options.tokens, options.per_s)
    async with AsyncExitStack() as stack:
        server = await asyncio.start_server(numbers.serve, "127.0.0.1", 0, backlog=1024)
        await stack.enter_async_context(server)
        numbers.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        redis = RedisServer()
        redis.start()
        stack.callback(redis.kill)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        databases = stack.enter_context(ExitStack())
        env = _environment(numbers, redis, options)
        seed, url = await asyncio.to_thread(_seed, databases, directory, options)
        fleet = Fleet(directory, env | {"DATABASE_URL": url}, seed)
        stack.callback(fleet.stop)
        await asyncio.to_thread(fleet.start, options.workers)
        proxy = Proxy(fleet.ports, reset_every_s=options.reset_every, seed=options.seed)
        await stack.enter_async_context(proxy)
        tokens = directory / "tokens.json"
        accounts = seed.accounts[: options.clients]
        tokens.write_text(json.dumps([account.access for account in accounts]))
        process = await asyncio.create_subprocess_exec(
            *("node", str(SCRIPT), proxy.url, str(tokens), str(options.seconds)),
            stdout=asyncio.subprocess.PIPE,
        )
        outage = Outage(redis, fleet.done)
        async with (
            asyncio.timeout(options.seconds + GRACE_S),
            repeated(fleet.kill_one, options.kill_every),
            repeated(fleet.restart_next, options.restart_every),
            repeated(outage.one, options.redis_down_every),
        ):
            output, _ = await process.communicate()
        counted: dict[str, Any] = json.loads(output)
        answers = await _settled(url)
        await asyncio.to_thread(fleet.stop)
        counted |= {"faults": fleet.done, "tracebacks": fleet.tracebacks}
        counted["told"] = dict(fleet.told.most_common(10))
        return counted | _of_what_is_stored(answers, numbers)


def _environment(
    numbers: Numbers, redis: RedisServer, options: argparse.Namespace
) -> dict[str, str]:
    return {
        "REDIS_URL": redis.url,
        "OPENAI_BASE_URL": f"{numbers.url}/v1",
        "OPENAI_API_KEY": "sk-numbers",
        "LLMCHAT_MESSAGES_PER_MINUTE": "0",
        "LLMCHAT_DRAIN_S": str(options.drain),
    }


def _seed(
    stack: ExitStack, directory: Path, options: argparse.Namespace
) -> tuple[live.Seed, str]:
    if options.postgres:
        url = stack.enter_context(running_postgres())
        empty = directory / "empty.sqlite3"
        empty.touch()
        return live.Seed(empty, seed_postgres(url, users=options.clients)), url
    seed = live.seed_database(directory / "seed", users=options.clients)
    return seed, f"sqlite:///{seed.path}"


async def _settled(url: str) -> list[Answer]:
    """Return the stored answers, once those of dead workers have been ended."""
    deadline = time.monotonic() + LEASE_S
    while True:
        answers = await asyncio.to_thread(_answers, url)
        is_settled = all(state != "streaming" for _, state, _ in answers)
        if is_settled or time.monotonic() > deadline:
            return answers
        await asyncio.sleep(1)


def _answers(url: str) -> list[Answer]:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return connection.execute(ANSWERS).fetchall()
    with psycopg.connect(url) as server:
        return server.execute(ANSWERS).fetchall()


def _of_what_is_stored(answers: list[Answer], numbers: Numbers) -> dict[str, Any]:
    stored = Counter(state for _, state, _ in answers)
    lost = [
        numbers.sent[question].lost_s(text)
        for question, state, text in answers
        if state == "interrupted" and question in numbers.sent
    ]
    return {
        "stored": stored,
        "streaming": stored["streaming"],
        "lostTextS": round(max(lost, default=0.0), 3),
    }


def main() -> int:
    """Run the command: print what was counted, and return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--reset-every", type=float)
    parser.add_argument("--kill-every", type=float)
    parser.add_argument("--restart-every", type=float)
    parser.add_argument("--redis-down-every", type=float)
    parser.add_argument("--drain", type=float, default=20.0)
    parser.add_argument("--tokens", type=int, default=300, help="tokens per answer")
    parser.add_argument("--per-s", type=float, default=30.0, help="tokens per second")
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started = time.monotonic()
    counted = asyncio.run(measure(options))
    counted["seconds"] = round(time.monotonic() - started)
    faults = Faults(
        kills=options.kill_every is not None,
        restarts=options.restart_every is not None,
        redis_down=options.redis_down_every is not None,
    )
    counted["wrong"] = wrong(counted, faults)
    print(json.dumps(counted, indent=2))
    return 1 if counted["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
