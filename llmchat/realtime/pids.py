"""The secrets by which clients come back for their sockets.

A `pid` says which worker issued it, which socket it is for, and from which multiple of
`NUMBERS` the socket's events are counted (see `Replay`). It contains two codes. The
first proves that a server with the same secret issued it, so that clients cannot make
up a worker. The second proves that it was issued to this client. So a socket can be
recreated when its worker is gone, and no other client can ask for that.

Spec: Socket.IO, "Connection state recovery".
"""

from __future__ import annotations

import base64
import secrets
from typing import NamedTuple

from llmchat.workers.address import LENGTH as ADDRESS_LENGTH

from .codes import code_of, is_code

ID_RANDOM_BYTES = 15
_ID_LENGTH = 20
_NONCE_BYTES, _NONCE_LENGTH = 6, 8
# How the nonce begins if events are not counted from 0; random ones never have a ".".
_SERIES, _SERIES_BYTES, _SERIES_LENGTH = ".", 3, 5
_GIVEN_BYTES, _GIVEN_LENGTH = 9, 12
_CODE_BYTES, _CODE_LENGTH = 18, 24
_BEFORE_CODES = ADDRESS_LENGTH + _ID_LENGTH + _NONCE_LENGTH
_BEFORE_CODE = _BEFORE_CODES + _GIVEN_LENGTH
PID_LENGTH = _BEFORE_CODE + _CODE_LENGTH


class Claimed(NamedTuple):
    """What a `pid` says, true or not."""

    address: str
    socket_id: str
    series: int


def make_id() -> str:
    """Return an id that cannot be guessed."""
    return secrets.token_urlsafe(ID_RANDOM_BYTES)


class Pids:
    """Makes the `pid`s of one worker, and checks those of all workers."""

    def __init__(self, address: str = "", secret: bytes = b"") -> None:
        """`address` is the worker's; without a `secret`, `pid`s are valid only here."""
        self.address = address or "-" * ADDRESS_LENGTH
        self._is_shared = bool(secret)
        self._secret = secret or secrets.token_bytes(32)

    def make(
        self, namespace: str, socket_id: str, identity: str, series: int = 0
    ) -> str:
        """Return a `pid` for a socket of the client with this identity."""
        begin = self.address + socket_id + _nonce(series)
        begin += code_of(self._secret, _GIVEN_BYTES, "llmchat.pid", begin)
        said = ("llmchat.pid.of", namespace, begin, identity)
        return begin + code_of(self._secret, _CODE_BYTES, *said)

    def read(self, pid: object) -> Claimed | None:
        """Return what a client's `pid` says; None: no server issued it."""
        if not isinstance(pid, str) or len(pid) != PID_LENGTH or not pid.isascii():
            return None
        begin, given = pid[:_BEFORE_CODES], pid[_BEFORE_CODES:_BEFORE_CODE]
        said = ("llmchat.pid", begin)
        # Without a shared secret, only the worker of a socket can tell.
        if self._is_shared and not is_code(given, self._secret, _GIVEN_BYTES, *said):
            return None
        socket_id, nonce = begin[ADDRESS_LENGTH:][:_ID_LENGTH], begin[-_NONCE_LENGTH:]
        return Claimed(pid[:ADDRESS_LENGTH], socket_id, _series_in(nonce))

    def is_for(self, pid: str, namespace: str, identity: str) -> bool:
        """Return whether the `pid` was issued to the client with this identity."""
        begin, code = pid[:_BEFORE_CODE], pid[_BEFORE_CODE:]
        said = ("llmchat.pid.of", namespace, begin, identity)
        return is_code(code, self._secret, _CODE_BYTES, *said)


def _nonce(series: int) -> str:
    nonce = secrets.token_urlsafe(_NONCE_BYTES)
    if not series:
        return nonce
    said = base64.urlsafe_b64encode(series.to_bytes(_SERIES_BYTES)).decode()
    return f"{_SERIES}{said}{nonce[_SERIES_LENGTH:]}"


def _series_in(nonce: str) -> int:
    if not nonce.startswith(_SERIES):
        return 0
    try:
        said = base64.urlsafe_b64decode(nonce[len(_SERIES) : _SERIES_LENGTH])
    except ValueError:
        return 0  # a client made it up
    return int.from_bytes(said)
