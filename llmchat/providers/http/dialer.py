"""New connections, to the first of a name's addresses that answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohappyeyeballs import start_connection

from llmchat.providers.transport import ConnectTimeoutError, UnreachableError

from . import names
from .address import Origin
from .connection import Connection
from .tls import tls_context

_NEXT_ADDRESS_S = 0.25  # RFC 8305: how long to wait before trying the next one, too


async def connect(
    origin: Origin, new_connection: Callable[[], Connection], limit_s: float
) -> Connection:
    """Return a new connection within the limit.

    Raises:
        UnreachableError: no server is there, or its certificate is not trusted.
        ConnectTimeoutError: it took longer than the limit.
    """
    try:
        async with asyncio.timeout(limit_s):
            return await _connect(origin, new_connection)
    except TimeoutError as exc:
        raise ConnectTimeoutError(type(exc).__name__) from exc
    except (OSError, UnicodeError) as exc:
        raise UnreachableError(type(exc).__name__) from exc


async def _connect(
    origin: Origin, new_connection: Callable[[], Connection]
) -> Connection:
    found = await names.SHARED.find(origin.host, origin.port)
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
