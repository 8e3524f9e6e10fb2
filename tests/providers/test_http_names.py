"""Looking up the addresses of names, if the resolver is slow, wrong or dead."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from llmchat.providers.http import names
from llmchat.providers.http.names import Found, NameResolver
from llmchat.providers.transport import ConnectTimeoutError, Request, UnreachableError
from tests.emulator.driver import NewTransport
from tests.support.live import ROOT
from tests.support.provider_sockets import (
    LIMIT_S,
    answer_for_ever,
    read,
    sockets,
    transport,
)

BOTH_WAYS = True
BOTH_LOOPS = True


def found(address: str) -> Found:
    kind = socket.SOCK_STREAM, socket.IPPROTO_TCP
    return [(socket.AF_INET, *kind, "", (address, 0))]


@dataclass(slots=True)
class Resolver:
    """Knows one address for every name; on demand, lookups are held, or fail."""

    loop: asyncio.AbstractEventLoop
    address: str = "127.0.0.1"
    is_well: bool = True
    held: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    gates: list[threading.Event] = field(default_factory=list)
    begun: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    def __call__(self, host: str) -> Found:
        outcome = found(self.address) if self.is_well else None
        self.asked.append(host)
        gate = threading.Event()
        self.gates.append(gate)
        self.loop.call_soon_threadsafe(self.begun.put_nowait, host)
        if host in self.held:
            gate.wait()
        if outcome is None:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return outcome

    async def until_asked(self, host: str) -> None:
        async with asyncio.timeout(LIMIT_S):
            while await self.begun.get() != host:
                pass

    def release(self) -> None:
        self.held.clear()
        for gate in self.gates:
            gate.set()


@pytest.fixture
async def resolver() -> AsyncIterator[Resolver]:
    made = Resolver(asyncio.get_running_loop())
    yield made
    made.release()


@pytest.fixture
def known(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> NameResolver:
    """A resolver with limits so long that nothing is slow even on a busy machine."""
    for limit in ("_FRESH_S", "_OLD_S", "_JOIN_S"):
        monkeypatch.setattr(names, limit, 3600.0)
    return NameResolver(resolver)


@pytest.fixture
def shared(known: NameResolver, monkeypatch: pytest.MonkeyPatch) -> NameResolver:
    """Make connections use this resolver."""
    monkeypatch.setattr(names, "SHARED", known)
    return known


async def address_of(known: NameResolver, host: str = "provider") -> str:
    async with asyncio.timeout(LIMIT_S):
        ((*_, address),) = await known.find(host, 443)
    assert address[1] == 443
    return str(address[0])


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that a thread makes true without any event."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await turn()


async def turn() -> None:
    await asyncio.sleep(0.001)


# --- one lookup for all ---


async def test_all_who_wait_share_a_lookup_and_one_may_give_up(
    known: NameResolver, resolver: Resolver
) -> None:
    resolver.held.add("provider")
    tasks = [asyncio.create_task(address_of(known)) for _ in range(5)]
    await resolver.until_asked("provider")
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    (lookup,) = known._lookups["provider"]
    assert len(lookup.waiters) == 4
    resolver.release()
    assert await asyncio.gather(*tasks[1:]) == ["127.0.0.1"] * 4
    assert tasks[0].cancelled()
    assert resolver.asked == ["provider"]


async def test_what_is_fresh_is_not_asked_for_again(
    known: NameResolver, resolver: Resolver
) -> None:
    for _ in range(3):
        assert await address_of(known) == "127.0.0.1"
    assert resolver.asked == ["provider"]


async def test_an_old_address_serves_while_it_is_looked_up_again(
    known: NameResolver, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await address_of(known)
    monkeypatch.setattr(names, "_FRESH_S", 0.0)
    resolver.address = "127.0.0.2"
    resolver.held.add("provider")
    for _ in range(3):
        assert await address_of(known) == "127.0.0.1"
    await until(lambda: len(resolver.asked) == 2)
    resolver.release()
    await until(lambda: not known._lookups)
    assert await address_of(known) == "127.0.0.2"


async def test_an_address_that_is_too_old_does_not_serve(
    known: NameResolver, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await address_of(known)
    monkeypatch.setattr(names, "_OLD_S", 0.0)
    resolver.is_well = False
    with pytest.raises(OSError, match="no answer"):
        await address_of(known)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_address_needs_no_lookup(
    known: NameResolver, resolver: Resolver, host: str
) -> None:
    assert await address_of(known, host) == host
    assert resolver.asked == []
    assert not known._threads


# --- failures ---


async def test_a_failure_is_not_remembered(
    known: NameResolver, resolver: Resolver
) -> None:
    resolver.is_well = False
    for _ in range(2):
        with pytest.raises(OSError, match="no answer"):
            await address_of(known)
    resolver.is_well = True
    assert await address_of(known) == "127.0.0.1"
    assert len(resolver.asked) == 3


async def test_who_came_later_than_a_lookup_that_fails_asks_again(
    known: NameResolver, resolver: Resolver
) -> None:
    resolver.is_well = False
    resolver.held.add("provider")
    early = asyncio.create_task(address_of(known))
    await resolver.until_asked("provider")
    resolver.is_well = True
    late = asyncio.create_task(address_of(known))
    (lookup,) = known._lookups["provider"]
    await until(lambda: len(lookup.waiters) == 2)
    resolver.release()
    assert await late == "127.0.0.1"
    with pytest.raises(OSError, match="no answer"):
        await early


async def test_a_lookup_that_hangs_is_not_waited_for_by_who_comes_later(
    known: NameResolver, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "_JOIN_S", 0.0)
    resolver.held.add("provider")
    early = asyncio.create_task(address_of(known))
    await resolver.until_asked("provider")
    resolver.held.clear()
    assert await address_of(known) == "127.0.0.1"
    assert await early == "127.0.0.1"


# --- limits ---


async def test_a_name_has_so_many_lookups_at_once(
    known: NameResolver, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "_JOIN_S", 0.0)
    resolver.held.add("provider")
    tasks = [asyncio.create_task(address_of(known)) for _ in range(10)]
    await until(lambda: len(resolver.asked) == names._MAX_A_NAME)
    assert len(known._lookups["provider"]) == names._MAX_A_NAME
    resolver.release()
    assert await asyncio.gather(*tasks) == ["127.0.0.1"] * 10
    await until(lambda: not known._lookups and not known._threads)


async def test_lookups_wait_for_a_thread_and_only_so_many(
    known: NameResolver, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "_MAX_THREADS", 2)
    monkeypatch.setattr(names, "_MAX_WAITING", 3)
    hosts = [f"provider-{number}" for number in range(5)]
    resolver.held.update(hosts)
    tasks = [asyncio.create_task(address_of(known, host)) for host in hosts[:2]]
    await until(lambda: len(resolver.asked) == 2)
    tasks += [asyncio.create_task(address_of(known, host)) for host in hosts[2:]]
    await until(lambda: len(known._waiting) == 3)
    with pytest.raises(OSError, match="too many"):
        await address_of(known, "one-more")
    assert sorted(resolver.asked) == hosts[:2]
    resolver.release()
    assert await asyncio.gather(*tasks) == ["127.0.0.1"] * 5


async def test_a_system_without_threads_delays_a_lookup(
    known: NameResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        early = asyncio.create_task(address_of(known))
        await until(lambda: bool(known._waiting))
    assert await address_of(known) == "127.0.0.1"
    assert await early == "127.0.0.1"


async def test_so_many_names_are_remembered(
    known: NameResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "_MAX_KNOWN", 3)
    for number in range(5):
        await address_of(known, f"provider-{number}")
    assert list(known._known) == ["provider-2", "provider-3", "provider-4"]


# --- connections ---


@pytest.mark.usefixtures("shared")
async def test_a_dead_name_keeps_nobody_from_another(
    resolver: Resolver, new_transport: NewTransport
) -> None:
    http = new_transport(max_connections=100)
    resolver.held.add("dead")
    async with sockets(answer_for_ever) as served:
        dead = Request(served.url.replace("127.0.0.1", "dead"), {}, b"{}", LIMIT_S)
        tasks = [asyncio.create_task(http.send(dead)) for _ in range(50)]
        await resolver.until_asked("dead")
        url = served.url.replace("127.0.0.1", "healthy")
        response = await http.send(Request(url, {}, b"{}", LIMIT_S))
        assert await read(response) == b"0"
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert resolver.asked == ["dead", "healthy"]
        await http.aclose()


@pytest.mark.usefixtures("shared")
async def test_a_connection_waits_for_a_name_within_its_limit(
    resolver: Resolver,
) -> None:
    resolver.held.add("dead")
    async with transport() as http:
        with pytest.raises(ConnectTimeoutError):
            await http.send(Request("http://dead:1/", {}, b"{}", 0.05))


@pytest.mark.usefixtures("shared")
async def test_a_name_that_nobody_knows_is_no_host(
    resolver: Resolver, new_transport: NewTransport
) -> None:
    http = new_transport(max_connections=1)
    resolver.is_well = False
    with pytest.raises(UnreachableError):
        await http.send(Request("http://nobody:1/", {}, b"{}", LIMIT_S))
    await http.aclose()


@pytest.mark.parametrize("host", ["a..b", "a" * 64, "."])
async def test_what_can_be_no_name_is_no_host(
    host: str, new_transport: NewTransport
) -> None:
    http = new_transport(max_connections=1)
    with pytest.raises(UnreachableError):
        await http.send(Request(f"http://{host}:1/", {}, b"{}", LIMIT_S))
    await http.aclose()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_resolver_that_hangs_delays_no_exit(loop: str) -> None:
    code = f"""
import asyncio, threading, {loop}
from llmchat.providers.http.names import NameResolver

async def main():
    known = NameResolver(lambda host: threading.Event().wait())
    try:
        async with asyncio.timeout(0.05):
            await known.find("dead", 443)
    except TimeoutError:
        print(known._threads)

{loop}.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "1\n"
