"""What an application provides for a session."""

from __future__ import annotations

from typing import Any, Protocol

from .engineio.events import CloseReason


class Receiver(Protocol):
    """The application's side of one peer. No method may block or raise."""

    def receive(self, message: str | bytes) -> None:
        """Called with each message, in order."""

    def closed(self, reason: CloseReason) -> None:
        """Called once, when the session has ended; nothing is called after it."""

    def confirmed(self, count: int) -> None:
        """Called when the client has confirmed its first `count` messages."""

    def tick(self, now: float) -> None:
        """Called when `next_deadline` has passed."""

    @property
    def next_deadline(self) -> float | None:
        """Return when to call `tick`."""

    @property
    def is_joining(self) -> bool:
        """Return whether a client is being let in: `hand_over` has to wait for that."""

    def hand_over(self, worker: str) -> Any:
        """Return what `take_over` needs on another worker; nothing is called after it.

        None: not now, something is under way.
        """

    def take_over(self, state: Any, waiting: int) -> None:
        """Continue where the receiver of another worker stopped.

        `waiting` is how many of its messages wait to be sent.
        """
