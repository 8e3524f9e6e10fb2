"""Which transport is used."""

from __future__ import annotations

from urllib.request import getproxies

from llmchat.providers.transport import Transport

from .pool import PooledTransport


def new_transport(*, max_connections: int) -> Transport:
    """Return the lean transport, or the libraries' where the environment has proxies.

    Those take a second to load and twice the CPU, hence only where they are needed.
    """
    if not {"http", "https", "all"} & getproxies().keys():
        return PooledTransport(max_connections=max_connections)
    from .library import LibraryTransport

    return LibraryTransport(max_connections=max_connections)
