"""The stock JavaScript client of npm, driven from a test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[1] / "js" / "client.cjs"
NEWEST = "socket.io-client"
OLDER = tuple(f"{NEWEST}-{version}" for version in ("4.7", "4.4", "4.0", "3.0"))
ENDS = frozenset({"llm:stream:done", "llm:stream:error", "llm:stream:cancelled"})
LIMIT_S = 60.0

Report = dict[str, Any]


class StockClient:
    """One client in a Node process, which takes commands and reports what happens."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._seen: list[Report] = []
        self._acks = 0

    async def emit(self, name: str, *args: Any) -> None:
        """Emit an event."""
        await self._tell(emit=[name, *args])

    async def call(self, name: str, *args: Any) -> list[Any]:
        """Emit an event with an ack callback and return what the callback got."""
        self._acks += 1
        number = self._acks
        await self._tell(emit=[name, *args], ack=number)
        report = await self.until(
            lambda r: r["on"] == "ack" and r["ack"] == number, f"the ack of {name}"
        )
        answer: list[Any] = report["args"]
        return answer

    async def drop(self) -> None:
        """Cut the connection so that the client reconnects by itself."""
        await self._tell(drop=True)

    async def close(self) -> None:
        """Disconnect for good."""
        await self._tell(close=True)

    async def on(self, what: str) -> Report:
        """Return the next report of a kind: connect, connect_error, disconnect …"""
        return await self.until(lambda report: report["on"] == what, what)

    async def event(self, name: str, session_id: str | None = None) -> dict[str, Any]:
        """Return the payload of the next event of that name (and stream)."""
        report = await self.until(
            lambda r: (
                r["on"] == "event"
                and r["name"] == name
                and (session_id is None or r["args"][0]["sessionId"] == session_id)
            ),
            name,
        )
        payload: dict[str, Any] = report["args"][0]
        return payload

    async def stream(self, session_id: str) -> list[tuple[str, dict[str, Any]]]:
        """Return all events of a stream, as (name, payload), its end included."""
        events: list[tuple[str, dict[str, Any]]] = []
        while not events or events[-1][0] not in ENDS:
            report = await self.until(
                lambda r: (
                    r["on"] == "event" and r["args"][0]["sessionId"] == session_id
                ),
                f"the end of {session_id}",
            )
            events.append((report["name"], report["args"][0]))
        return events

    async def ask(
        self, session_id: str, text: str, **fields: Any
    ) -> list[tuple[str, dict[str, Any]]]:
        """Start a stream with one message and return all of its events."""
        await self.start(session_id, text, **fields)
        return await self.stream(session_id)

    async def start(self, session_id: str, text: str, **fields: Any) -> None:
        """Start a stream; `fields` replace or add to the payload's own."""
        payload = {
            "sessionId": session_id,
            "provider": "local",
            "messages": [{"role": "user", "content": text}],
            **fields,
        }
        await self.emit("llm:chat:stream", payload)

    async def until(self, wanted: Callable[[Report], bool], name: str) -> Report:
        """Return the first report that is wanted, and keep the others for later.

        Raises: AssertionError if none arrives, with all the reports that did.
        """
        for index, report in enumerate(self._seen):
            if wanted(report):
                return self._seen.pop(index)
        try:
            async with asyncio.timeout(LIMIT_S):
                while True:
                    report = await self._read()
                    if wanted(report):
                        return report
                    self._seen.append(report)
        except TimeoutError as exc:
            raise AssertionError(f"no {name} came, but {self._seen}") from exc

    async def next(self) -> Report:
        """Return the next report of any kind."""
        if self._seen:
            return self._seen.pop(0)
        async with asyncio.timeout(LIMIT_S):
            return await self._read()

    def forget(self, name: str) -> None:
        """Forget the events of this name that no call has returned yet."""
        self._seen = [report for report in self._seen if report.get("name") != name]

    async def quiet(self, *, for_s: float) -> list[Report]:
        """Return the reports of a span of time, after those kept before it."""
        try:
            async with asyncio.timeout(for_s):
                while True:
                    self._seen.append(await self._read())
        except TimeoutError:
            pass
        seen, self._seen = self._seen, []
        return seen

    async def _read(self) -> Report:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, "the Node process has ended"
        report: Report = json.loads(line)
        return report

    async def _tell(self, **command: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self._process.stdin.drain()


@asynccontextmanager
async def stock_client(
    url: str,
    token: str | None = None,
    *,
    package: str = NEWEST,
    transports: tuple[str, ...] | None = None,
    options: Mapping[str, Any] | None = None,
) -> AsyncIterator[StockClient]:
    """Run a client against a server; it is not connected yet."""
    chosen: dict[str, Any] = dict(options or {})
    if token is not None:
        chosen.setdefault("auth", {"token": token})
    if transports is not None:
        chosen["transports"] = transports
    process = await asyncio.create_subprocess_exec(
        "node",
        str(SCRIPT),
        url,
        package,
        json.dumps(chosen),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=16 * 1024 * 1024,
    )
    try:
        yield StockClient(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def connected_client(
    url: str, token: str, **options: Any
) -> AsyncIterator[StockClient]:
    """Run a client and wait until it is connected."""
    async with stock_client(url, token, **options) as client:
        await client.on("connect")
        yield client
