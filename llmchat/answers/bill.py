"""What the attempts at one answer are billed for, and where they were made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import reduce
from operator import add

from llmchat.access.catalogue import Route
from llmchat.providers.answer import estimate_input_tokens
from llmchat.providers.reading import CHARS_PER_TOKEN
from llmchat.providers.types import Chat, Usage


@dataclass(slots=True)
class Bill:
    """It has a line for each attempt that anything was counted of.

    `is_asked` says that the request of an attempt has left, `earlier` how many lines
    there were by then, `is_counted` that the last one is billed.
    """

    is_asked: bool = False
    earlier: int = 0
    is_counted: bool = False
    lines: list[tuple[Route, Usage]] = field(default_factory=list)

    def of(self, route: Route | None) -> Usage | None:
        """Return what all attempts there are billed for, None: nothing is known."""
        lines = self.lines_of(route)
        return reduce(add, lines) if lines else None

    def lines_of(self, route: Route | None) -> tuple[Usage, ...]:
        """Return what each attempt there is billed for, in order."""
        return tuple(usage for billed, usage in self.lines if billed is route)

    def add(self, route: Route, usage: Usage, *, is_last: bool = True) -> None:
        """Note what was counted of an attempt."""
        self.lines.append((route, usage))
        self.is_counted = is_last

    def add_estimate(
        self, route: Route, chat: Chat, *, pieces: int, chars: int
    ) -> None:
        """Guess an attempt that was broken off before its provider counted it.

        A provider's pieces may be tokens or whole sentences.
        """
        if not self.is_counted:
            outputs = max(pieces, math.ceil(chars / CHARS_PER_TOKEN))
            inputs = estimate_input_tokens(chat)
            self.add(route, Usage(inputs, outputs, "estimated"))

    def add_refusal(self, route: Route) -> None:
        """Note that the last attempt was refused, though nobody has counted it.

        Without its line, the one of the attempt before would be taken for the refusal.
        """
        if len(self.lines) == self.earlier:
            self.add(route, Usage(0, 0, "estimated"))

    def note_asking(self, is_asked: bool) -> None:
        """Called as the request of an attempt leaves, and where that has failed."""
        self.is_asked = is_asked
        if is_asked:
            self.earlier = len(self.lines)
