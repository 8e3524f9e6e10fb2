"""The addresses of names, looked up in threads of this module's own.

A resolver that does not respond holds a thread for as long as it likes, even if the
caller has long given up. The event loop has only a few threads for lookups, and uvloop
only two, so one dead name would keep every other connection from being made, too.

Here a name is looked up once for all callers that wait, and what is known of it is used
while it is looked up again. The threads are daemons: one that hangs delays no exit.
"""

from __future__ import annotations

import asyncio
import math
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

from aiohappyeyeballs import AddrInfoType

_FRESH_S = 10.0  # how long an address is used without another lookup
_OLD_S = 300.0  # how long it is used while it is looked up again
# A caller does not join a lookup that is older than this, but begins another: the old
# one may have asked when the resolver was down. Half of the threads are kept for the
# first lookups of names.
_JOIN_S = 2.0
_MAX_A_NAME = 4
_MAX_THREADS = 32
_MAX_WAITING = 256
_MAX_KNOWN = 256

Found = Sequence[AddrInfoType]  # their port is 0
Waiter = asyncio.Future[Found]


def _resolve(host: str, flags: int = 0) -> Found:
    kind = socket.SOCK_STREAM
    return socket.getaddrinfo(host, 0, 0, kind, socket.IPPROTO_TCP, flags)


@dataclass(slots=True, eq=False)
class _Lookup:
    """A question to the resolver, and the futures that wait for its answer."""

    host: str
    began: float = field(default_factory=time.monotonic)
    waiters: set[Waiter] = field(default_factory=set)


class NameResolver:
    """Finds addresses, from any event loop and thread; `resolve` may block."""

    def __init__(self, resolve: Callable[[str], Found] = _resolve) -> None:
        self._resolve = resolve
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Found]] = {}  # and since when
        self._lookups: dict[str, list[_Lookup]] = {}  # that are not over
        self._waiting: deque[_Lookup] = deque()  # for a thread
        self._threads = 0

    async def find(self, host: str, port: int) -> list[AddrInfoType]:
        """Return the addresses to connect to.

        Raises:
            OSError: there is no such name, or no resolver answers.
            UnicodeError: `host` cannot be a name.
        """
        found = self._recall(host) or _literal(host) or await self._look_up(host)
        return [
            (family, kind, protocol, name, (address[0], port, *address[2:]))
            for family, kind, protocol, name, address in found
        ]

    def _recall(self, host: str) -> Found | None:
        """Return what is known; if it is no longer fresh, have it looked up again."""
        since, found = self._known.get(host, (-math.inf, None))
        age = time.monotonic() - since
        if age >= _OLD_S:
            return None
        if age >= _FRESH_S:
            with suppress(OSError):
                self._join(host)
        return found

    async def _look_up(self, host: str) -> Found:
        """Wait for an answer; a failure counts only if its lookup began after the call.

        An earlier lookup may have failed before the resolver recovered.
        """
        came = time.monotonic()
        while True:
            waiter: Waiter = asyncio.get_running_loop().create_future()
            lookup = self._join(host, waiter)
            try:
                return await waiter
            except OSError:
                if lookup.began >= came:
                    raise
            finally:
                with self._lock:
                    lookup.waiters.discard(waiter)

    def _join(self, host: str, waiter: Waiter | None = None) -> _Lookup:
        """Return a lookup that is under way; `waiter` will get its outcome."""
        with self._lock:
            lookup = self._young(host) or self._begin(host)
            if waiter is not None:
                lookup.waiters.add(waiter)
            if self._waiting and self._threads < _MAX_THREADS:
                self._start_thread()
            return lookup

    def _young(self, host: str) -> _Lookup | None:
        """Return a lookup to wait for, None if a new one is to begin."""
        under_way = self._lookups.get(host)
        if not under_way:
            return None
        newest = under_way[-1]
        is_slow = time.monotonic() - newest.began >= _JOIN_S
        is_room = len(under_way) < _MAX_A_NAME and self._threads < _MAX_THREADS // 2
        return None if is_slow and is_room else newest

    def _begin(self, host: str) -> _Lookup:
        if len(self._waiting) >= _MAX_WAITING:
            raise socket.gaierror(socket.EAI_AGAIN, "too many lookups")
        lookup = _Lookup(host)
        self._lookups.setdefault(host, []).append(lookup)
        self._waiting.append(lookup)
        return lookup

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name="lookup", daemon=True)
        with suppress(RuntimeError):  # no thread left: the next caller tries again
            thread.start()
            self._threads += 1

    # Run by the threads.

    def _run(self) -> None:
        while (lookup := self._next()) is not None:
            try:
                outcome: Found | Exception = self._resolve(lookup.host)
            except Exception as exc:
                outcome = exc
            self._end(lookup, outcome)

    def _next(self) -> _Lookup | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._threads -= 1
            return None

    def _end(self, lookup: _Lookup, outcome: Found | Exception) -> None:
        """Pass on the outcome; what was found, also to those with a slower lookup."""
        with self._lock:
            under_way = self._lookups[lookup.host]
            answered = [lookup]
            if not isinstance(outcome, Exception):
                self._remember(lookup.host, outcome)
                answered = under_way
            waiters = [waiter for entry in answered for waiter in entry.waiters]
            under_way.remove(lookup)
            if not under_way:
                del self._lookups[lookup.host]
        for waiter in waiters:
            with suppress(RuntimeError):  # its event loop is over
                waiter.get_loop().call_soon_threadsafe(_tell, waiter, outcome)

    def _remember(self, host: str, found: Found) -> None:
        self._known.pop(host, None)
        if len(self._known) >= _MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[host] = time.monotonic(), found


@lru_cache(maxsize=256)
def _literal(host: str) -> Found | None:
    """Return the address if `host` is one, which needs no lookup; None for a name."""
    try:
        return _resolve(host, socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None


def _tell(waiter: Waiter, outcome: Found | Exception) -> None:
    if waiter.done():
        return
    if isinstance(outcome, Exception):
        waiter.set_exception(outcome)
    else:
        waiter.set_result(outcome)


SHARED = NameResolver()
