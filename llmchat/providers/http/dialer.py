"""New connections: names to addresses, and the first of these that answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from aiohappyeyeballs import AddrInfoType, start_connection

from llmchat.providers.transport import ConnectTimeoutError, UnreachableError

from .address import Origin
from .connection import Connection
from .tls import tls_context

_NEXT_ADDRESS_S = 0.25  # RFC 8305: so long one address is waited for alone
_NAMES_S = 10.0
_MAX_NAMES = 256


class Dialer:
    """Connects; what a name stands for is remembered for a moment."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, int], tuple[float, list[AddrInfoType]]] = {}

    async def connect(
        self, origin: Origin, new_connection: Callable[[], Connection], limit_s: float
    ) -> Connection:
        """Return a new connection within the limit.

        Raises:
            UnreachableError: nobody is there, or somebody who is not believed.
            ConnectTimeoutError: it took longer than the limit.
        """
        try:
            async with asyncio.timeout(limit_s):
                return await self._connect(origin, new_connection)
        except TimeoutError as exc:
            raise ConnectTimeoutError(type(exc).__name__) from exc
        except (OSError, UnicodeError) as exc:
            raise UnreachableError(type(exc).__name__) from exc

    async def _connect(
        self, origin: Origin, new_connection: Callable[[], Connection]
    ) -> Connection:
        found = await self._find(origin.host, origin.port)
        sock = await start_connection(
            found, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1
        )
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                new_connection,
                sock=sock,
                ssl=tls_context() if origin.is_tls else None,
                server_hostname=origin.host.rstrip(".") if origin.is_tls else None,
            )
        except BaseException:
            sock.close()
            raise
        return connection

    async def _find(self, host: str, port: int) -> list[AddrInfoType]:
        loop = asyncio.get_running_loop()
        until, found = self._names.get((host, port), (0.0, []))
        if loop.time() < until:
            return found
        found = list(
            await loop.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
            )
        )
        if len(self._names) >= _MAX_NAMES:
            self._names.clear()
        self._names[host, port] = loop.time() + _NAMES_S, found
        return found
