"""The answer to a turn that somebody asks over HTTP: begun, and waited for."""

from __future__ import annotations

from accounts.verified import Verified
from llmchat.answers import runtime
from llmchat.answers.answer import start_answer
from llmchat.answers.events import End, Started
from llmchat.answers.follower import Follower
from llmchat.books.turn import Turn


async def begin(sender: Verified, turn: Turn) -> tuple[Follower, Started]:
    """Let the answer to a turn begin, and return who reads it.

    Raises: ChatError, where it is refused: it gets a status of its own, not a stream.
    """
    stream = runtime.get().streams.register(
        sender.user_id, turn.session_id, sender.key_id
    )
    follower = Follower(stream)
    start_answer(turn, stream)
    try:
        return follower, await follower.started()
    except BaseException:
        await follower.leave()
        raise


async def ended(follower: Follower) -> End:
    """Return the end of an answer; whoever waits no longer has cancelled it."""
    try:
        return await follower.ended()
    finally:
        await follower.leave()
