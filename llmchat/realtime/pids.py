"""The secrets by which clients come back for their sockets.

A `pid` says which worker has given it, and which socket it is for; a code says that it
was given by a server with the same secret, to this client. So a socket can be made anew
where the worker that had it is gone, and nobody else can ask for that.

Spec: Socket.IO, "Connection state recovery".
"""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64encode
from hmac import compare_digest
from typing import NamedTuple

from llmchat.workers.address import LENGTH as ADDRESS_LENGTH

ID_RANDOM_BYTES = 15
_ID_LENGTH = 20
_NONCE_BYTES, _NONCE_LENGTH = 6, 8
_CODE_BYTES, _CODE_LENGTH = 18, 24
_BEFORE_CODE = ADDRESS_LENGTH + _ID_LENGTH + _NONCE_LENGTH
PID_LENGTH = _BEFORE_CODE + _CODE_LENGTH


class Claimed(NamedTuple):
    """What a `pid` says, true or not."""

    address: str
    socket_id: str


def make_id() -> str:
    """Return an id that cannot be guessed."""
    return secrets.token_urlsafe(ID_RANDOM_BYTES)


def read_pid(pid: object) -> Claimed | None:
    """Return what a client's `pid` says; None where it is none of this server's."""
    if not isinstance(pid, str) or len(pid) != PID_LENGTH or not pid.isascii():
        return None
    end = ADDRESS_LENGTH + _ID_LENGTH
    return Claimed(pid[:ADDRESS_LENGTH], pid[ADDRESS_LENGTH:end])


class Pids:
    """Makes the `pid`s of one worker, and checks those of all."""

    def __init__(self, address: str = "", secret: bytes = b"") -> None:
        """`address` is the worker's; without a `secret`, none lives on in another."""
        self.address = address or "-" * ADDRESS_LENGTH
        self._secret = secret or secrets.token_bytes(32)

    def make(self, namespace: str, socket_id: str, identity: str) -> str:
        """Return a `pid` for a socket of the client with this identity."""
        begin = self.address + socket_id + secrets.token_urlsafe(_NONCE_BYTES)
        return begin + self._code(namespace, begin, identity)

    def is_for(self, pid: str, namespace: str, identity: str) -> bool:
        """Return whether the client with this identity was given the `pid`."""
        begin, code = pid[:_BEFORE_CODE], pid[_BEFORE_CODE:]
        return compare_digest(code, self._code(namespace, begin, identity))

    def _code(self, namespace: str, begin: str, identity: str) -> str:
        said = "\n".join(("llmchat.pid", namespace, begin, identity))
        key = hashlib.sha256(self._secret).digest()
        digest = hashlib.blake2b(said.encode(), key=key, digest_size=_CODE_BYTES)
        return urlsafe_b64encode(digest.digest()).decode()
