"""The answers that a socket is to hear, but does not yet.

Whoever brings a socket to hear one of them, by itself or for its client's cancel, takes
it from here: it is heard from where the client is with it, and its end once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from llmchat.answers.log import AnswerLog
from llmchat.api.socket_reader import log_of

# An answer: its id, what its client calls it, how far the client has it, and whether it
# began it.
Heard = tuple[str, str, int, bool]


@dataclass(slots=True)
class Awaited:
    """What a socket heard before it came here.

    `heard` are those that it heard on another worker, by their ids; `marked` are those
    of a worker that is gone, by their marks. `found` are those of which the text so far
    is awaited.
    """

    heard: dict[str, Heard] = field(default_factory=dict)
    marked: dict[str, int] = field(default_factory=dict)
    found: list[AnswerLog] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Return whether it awaits nothing any more."""
        return not (self.heard or self.marked)

    def position_of(self, stream: AnswerLog) -> int | None:
        """Return how far the client has an answer; None where it is not awaited."""
        if stream.started is None:
            return None
        ident = stream.started.message_id
        if (heard := self.heard.get(ident.hex)) is not None:
            return heard[2]
        return self.marked.get(log_of(ident))

    def take(self, stream: AnswerLog) -> int | None:
        """Await an answer no longer, and return `position_of` it."""
        position = self.position_of(stream)
        if position is not None and stream.started is not None:
            ident = stream.started.message_id
            self.heard.pop(ident.hex, None)
            self.marked.pop(log_of(ident), None)
        return position
