"""Which transport is used."""

from __future__ import annotations

from urllib.request import getproxies

from llmchat.providers.transport import Transport

from .pool import PooledTransport


def new_transport(*, max_connections: int) -> Transport:
    """Return the lean transport, or the libraries' if the environment sets proxies.

    The libraries take a second to load and twice the CPU, hence only when needed.
    """
    if not {"http", "https", "all"} & getproxies().keys():
        return PooledTransport(max_connections=max_connections)
    from .library import LibraryTransport

    return LibraryTransport(max_connections=max_connections)
