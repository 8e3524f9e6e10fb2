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
class UsageBill:
    """A bill has a line for each attempt of which anything was counted.

    `is_asked` says that the request of an attempt was sent, `earlier` how many lines
    there were when it was, and `is_counted` that the last attempt is billed.
    """

    is_asked: bool = False
    earlier: int = 0
    is_counted: bool = False
    lines: list[tuple[Route, Usage]] = field(default_factory=list)

    def of(self, route: Route | None) -> Usage | None:
        """Return what all attempts at a route are billed for; None if unknown."""
        lines = self.lines_of(route)
        return reduce(add, lines) if lines else None

    def lines_of(self, route: Route | None) -> tuple[Usage, ...]:
        """Return what each attempt at a route is billed for, in order."""
        return tuple(usage for billed, usage in self.lines if billed is route)

    def add(self, route: Route, usage: Usage, *, is_last: bool = True) -> None:
        """Add a line with what was counted of an attempt."""
        self.lines.append((route, usage))
        self.is_counted = is_last

    def add_estimate(
        self, route: Route, chat: Chat, *, pieces: int, chars: int
    ) -> None:
        """Estimate an attempt that was broken off before its provider counted it.

        A provider's pieces may be tokens or whole sentences.
        """
        if not self.is_counted:
            outputs = max(pieces, math.ceil(chars / CHARS_PER_TOKEN))
            inputs = estimate_input_tokens(chat)
            self.add(route, Usage(inputs, outputs, "estimated"))

    def add_refusal(self, route: Route) -> None:
        """Add an empty line for a refused attempt that no provider has counted.

        Otherwise the line of the attempt before it would be taken for the refusal.
        """
        if len(self.lines) == self.earlier:
            self.add(route, Usage(0, 0, "estimated"))

    def note_asking(self, is_asked: bool) -> None:
        """Called when an attempt's request is sent, and when the attempt has failed."""
        self.is_asked = is_asked
        if is_asked:
            self.earlier = len(self.lines)
