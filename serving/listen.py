"""Listening sockets, and plain error messages when they cannot be opened."""

from __future__ import annotations

import errno
import socket

_BACKLOG = 2048


class ListenError(Exception):
    """The server cannot listen; the text says why."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets for every address of a host.

    Raises: ListenError.
    """
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as exc:
        raise ListenError(f"HOST {host} is not an address of this machine") from exc
    addresses = sorted({(family, address) for family, _, _, _, address in found})
    sockets: list[socket.socket] = []
    try:
        for family, address in addresses:
            sockets.append(_listening(family, address))
    except OSError as exc:
        # `localhost` may have an IPv6 address even if the machine has no IPv6.
        if exc.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) and sockets:
            return sockets
        for opened in sockets:
            opened.close()
        raise ListenError(_words(exc, host, port)) from exc
    return sockets


def _listening(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `::` stands for all addresses, IPv4 included.
            only = int(address[0] != "::")
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.set_inheritable(True)
    return sock


def _words(exc: OSError, host: str, port: int) -> str:
    if exc.errno == errno.EADDRINUSE:
        return f"PORT {port} is in use by another program: stop it or set another PORT"
    if exc.errno == errno.EACCES:
        return f"PORT {port} needs rights that this account lacks: set another PORT"
    if exc.errno == errno.EADDRNOTAVAIL:
        return f"HOST {host} is not an address of this machine"
    return f"HOST {host}, PORT {port}: {exc.strerror}"
