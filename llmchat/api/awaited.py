"""The answers that a socket is to receive but does not yet.

Code that begins to send one of them, on its own or because the client cancels it, takes
it from here first. So the client receives it from where it left off, and its end once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from llmchat.answers.log import AnswerLog
from llmchat.api.socket_reader import log_name

# An answer: its message id, its session id, how many characters the client has, and
# whether the socket is its owner.
Heard = tuple[str, str, int, bool]


@dataclass(slots=True)
class Awaited:
    """The answers that a socket received before it came here.

    `heard` holds those that it received on another worker, by their message ids.
    `marked` holds how far it was with those of a worker that is gone, by the names in
    their marks. `found` lists those that are here, but not yet as far as the client is.
    """

    heard: dict[str, Heard] = field(default_factory=dict)
    marked: dict[str, int] = field(default_factory=dict)
    found: list[AnswerLog] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is awaited any more."""
        return not (self.heard or self.marked)

    def position_of(self, stream: AnswerLog) -> int | None:
        """Return how far the client has an answer, None if it is not awaited."""
        if stream.started is None:
            return None
        ident = stream.started.message_id
        if (heard := self.heard.get(ident.hex)) is not None:
            return heard[2]
        return self.marked.get(log_name(ident))

    def take(self, stream: AnswerLog) -> int | None:
        """Stop awaiting an answer, and return its `position_of`."""
        position = self.position_of(stream)
        if position is not None and stream.started is not None:
            ident = stream.started.message_id
            self.heard.pop(ident.hex, None)
            self.marked.pop(log_name(ident), None)
        return position
