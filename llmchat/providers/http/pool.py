"""A pool of connections that are kept alive."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from llmchat.providers.transport import ConnectionLostError, Request, Response

from .address import Address, Origin, encode_request, parse_address
from .connection import Connection
from .dialer import connect

_SWEEP_S = 5.0


class PooledTransport:
    """Sends requests, up to `max_connections` at a time; further ones wait.

    Redirects are not followed: one would carry the key to another host.
    """

    def __init__(self, *, max_connections: int) -> None:
        self._places = asyncio.Semaphore(max_connections)
        self._max = max_connections
        # Places that are taken: by requests that connect, wait or are being answered.
        self.in_use = 0
        self._opening = 0
        self._origins: dict[Connection, Origin] = {}  # of all that are not closed
        self._idle: defaultdict[Origin, dict[Connection, None]] = defaultdict(dict)
        self._sweeper: asyncio.TimerHandle | None = None
        self._all_lost = asyncio.Event()
        self._is_closed = False

    async def send(self, request: Request) -> Response:
        """Return the response as soon as its headers are there.

        Raises:
            TransportError: there is no response.
        """
        address = parse_address(request.url)
        data = encode_request(address, request)
        # A request that was written is not sent again here: the server may have read
        # it although it closed the connection. Only the client retries, and counts it.
        connection = await self._take(address, request.connect_s)
        request.on_sending()
        return await connection.exchange(data)

    async def aclose(self) -> None:
        """Close every connection. Responses still being read fail."""
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._origins):
            connection.abort()
        if self._origins:
            await self._all_lost.wait()

    async def _take(self, address: Address, connect_s: float) -> Connection:
        """Take a place and return a connection; its exchange gives the place back."""
        await self._places.acquire()
        self.in_use += 1
        try:
            self._check_open()
            connection = self._reuse(address.origin)
            return connection or await self._open(address.origin, connect_s)
        except BaseException:
            self._give_back()
            raise

    def _give_back(self) -> None:
        self.in_use -= 1
        self._places.release()

    def _check_open(self) -> None:
        if self._is_closed:
            raise ConnectionLostError("closed")

    def _reuse(self, origin: Origin) -> Connection | None:
        idle = self._idle[origin]
        while idle:
            connection, _ = idle.popitem()
            if connection.is_usable and not connection.has_input:
                return connection
            connection.abort()
        return None

    async def _open(self, origin: Origin, connect_s: float) -> Connection:
        if len(self._origins) + self._opening >= self._max:
            self._close_oldest()
        self._opening += 1
        try:
            connection = await connect(origin, self._new, connect_s)
        finally:
            self._opening -= 1
        if self._is_closed:
            connection.abort()
        self._check_open()
        if not connection.is_open:
            raise ConnectionLostError("closed by the server")
        self._origins[connection] = origin
        return connection

    def _new(self) -> Connection:
        return Connection(self._on_end, self._on_lost)

    def _close_oldest(self) -> None:
        idle = (connection for some in self._idle.values() for connection in some)
        oldest = min(idle, key=lambda connection: connection.idle_until, default=None)
        if oldest is not None:
            self._forget(oldest)
            oldest.abort()

    def _on_end(self, connection: Connection) -> None:
        self._give_back()
        if self._is_closed or not connection.is_open:
            return
        self._idle[self._origins[connection]][connection] = None
        if self._sweeper is None:
            self._sweeper = connection.loop.call_later(_SWEEP_S, self._sweep)

    def _on_lost(self, connection: Connection) -> None:
        self._forget(connection)
        if self._is_closed and not self._origins:
            self._all_lost.set()

    def _forget(self, connection: Connection) -> None:
        origin = self._origins.pop(connection, None)
        if origin is not None:
            self._idle[origin].pop(connection, None)

    def _sweep(self) -> None:
        """Close what has been idle for too long."""
        loop = asyncio.get_running_loop()
        for origin, idle in list(self._idle.items()):
            for connection in [one for one in idle if not one.is_usable]:
                del idle[connection]
                connection.abort()
            if not idle:
                del self._idle[origin]
        again = bool(self._idle)
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep) if again else None
