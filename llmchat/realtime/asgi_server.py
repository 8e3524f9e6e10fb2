"""What ASGI has no word for: the server's own objects behind a `send`.

uvicorn's `send` is a method of its protocol, daphne's a partial that holds it. On any
other server nothing is found, and what was to be done is left to the server.
"""

from __future__ import annotations

from typing import Any


def protocol_of(send: Any) -> Any:
    """The protocol behind a server's `send`, None where it cannot be found."""
    arguments = getattr(send, "args", None)
    return arguments[0] if arguments else getattr(send, "__self__", None)


def transport_of(send: Any) -> Any:
    """The transport of that protocol, None where it cannot be found."""
    return getattr(protocol_of(send), "transport", None)


def abort(send: Any) -> None:
    """Drops the connection, with what the server has buffered for it."""
    transport = transport_of(send)
    for name in ("abort", "abortConnection"):
        drop = getattr(transport, name, None)
        if drop is not None:
            drop()
            return
