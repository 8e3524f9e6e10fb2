"""The ids of sessions, which say which worker has them.

A code proves that a worker issued the id: clients cannot make up an id that would have
this worker ask another one, or one that never existed.
"""

from __future__ import annotations

from llmchat.workers.address import LENGTH as ADDRESS_LENGTH
from llmchat.workers.address import is_address

from .codes import code_of, is_code
from .engineio.handshake import make_sid

_FOR = "llmchat.sid"
_CODE_BYTES, _CODE_LENGTH = 9, 12


class Sids:
    """Makes the ids of one worker's sessions, and reads those of all."""

    def __init__(self, secret: bytes = b"") -> None:
        """Without a `secret` that all workers share, ids have no code."""
        self._secret = secret
        # This worker's address; empty if there are no other workers.
        self.address = ""

    def make(self) -> str:
        """Return the id of a session of this worker."""
        begin = make_sid(self.address)
        if not (self._secret and self.address):
            return begin
        return begin + code_of(self._secret, _CODE_BYTES, _FOR, begin)

    def owner(self, sid: str) -> str | None:
        """Return the other worker that issued an id; None: none did."""
        owner = sid[:ADDRESS_LENGTH]
        if not self.address or owner == self.address or not is_address(owner):
            return None
        begin, code = sid[:-_CODE_LENGTH], sid[-_CODE_LENGTH:]
        is_given = not self._secret or (
            sid.isascii() and is_code(code, self._secret, _CODE_BYTES, _FOR, begin)
        )
        return owner if is_given else None
