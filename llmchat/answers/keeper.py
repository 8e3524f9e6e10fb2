"""A reader that reads nothing: it keeps an answer for somebody who is on the way."""

from __future__ import annotations

import asyncio

from llmchat.answers.events import End, Started
from llmchat.answers.log import AnswerLog

# A socket that moves to another worker has so long to follow the answer from there.
KEEP_S = 5.0


class Keeper:
    """Keeps an answer going for `KEEP_S`, though nobody may read it."""

    def __init__(self, stream: AnswerLog) -> None:
        stream.join(self)
        asyncio.get_running_loop().call_later(KEEP_S, stream.leave, self)

    def start(self, started: Started) -> None:
        """Pass over the start."""

    def more(self) -> None:
        """Pass over new text."""

    def end(self, event: End) -> None:
        """Pass over the end."""

    @property
    def behind(self) -> int:
        """Return that it holds nobody up."""
        return 0

    @property
    def is_away(self) -> bool:
        """Return that somebody else may set the pace."""
        return True
