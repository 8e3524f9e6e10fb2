"""The answer to a turn that arrives over HTTP: begin it, and wait for its end."""

from __future__ import annotations

from accounts.verified import Verified
from llmchat.answers import runtime
from llmchat.answers.answer import start_answer
from llmchat.answers.events import End, Started
from llmchat.answers.follower import Follower
from llmchat.books.turn import Turn


async def begin(sender: Verified, turn: Turn) -> tuple[Follower, Started]:
    """Begin the answer to a turn; return its reader and its start.

    Raises: ChatError, if it is refused: a refusal is an HTTP status, never a stream.
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
    """Return the end of an answer, which is cancelled if the client hangs up first."""
    try:
        return await follower.ended()
    finally:
        await follower.leave()
