"""The requests of long-polling: at most one GET and one POST at a time.

Spec: Engine.IO protocol 4, "HTTP long-polling".
"""

from __future__ import annotations

from collections.abc import Iterable

from .packet import Packet
from .payload import encode_payload


class Polling:
    """The GET that is held, the answer chosen for it, and whether a POST is open."""

    __slots__ = ("_body", "held", "post_open")

    def __init__(self) -> None:
        self.held = False
        self.post_open = False
        self._body: bytes | None = None

    @property
    def needs_answer(self) -> bool:
        """Return whether a GET is held that has no answer yet."""
        return self.held and self._body is None

    def answer(self, packets: Iterable[Packet]) -> None:
        """Choose the answer to the held GET; the first choice counts."""
        if self.needs_answer:
            self._body = encode_payload(packets)

    def take(self) -> bytes | None:
        """Return the answer, which ends the GET; None: there is none yet."""
        body, self._body = self._body, None
        if not self.held or body is None:
            return None
        self.held = False
        return body
