"""What an application gives a session."""

from __future__ import annotations

from typing import Any, Protocol

from .engineio.events import CloseReason


class Receiver(Protocol):
    """The application's side of one peer. No method may block or raise."""

    def receive(self, message: str | bytes) -> None:
        """Called with each message, in order."""

    def closed(self, reason: CloseReason) -> None:
        """Called once, when the session has ended, and nothing is called behind it."""

    def confirmed(self, count: int) -> None:
        """Called when the client has confirmed its first `count` messages."""

    def tick(self, now: float) -> None:
        """Called when `next_deadline` has come."""

    @property
    def next_deadline(self) -> float | None:
        """Return when to call `tick`."""

    def hand_over(self, worker: str) -> Any:
        """Return what `take_over` needs in another worker; nothing is called behind it.

        None: not now, there is something under way.
        """

    def take_over(self, state: Any, waiting: int) -> None:
        """Go on where the receiver of another worker has stopped.

        So many of its messages wait to be sent.
        """
