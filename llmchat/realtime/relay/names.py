"""What workers ask each other about a session, and how they reply."""

from __future__ import annotations

from typing import Any

from llmchat.realtime.engineio.errors import Refusal

POLL = "session.poll"  # sid: wait for an `Outcome`
POST = "session.post"  # sid, key, body or None: wait for an `Outcome`
BODY = "session.body"  # sid, key, body: of a post that was announced without it
BREAK = "session.break"  # sid: one of its requests was lost or illegal
OPEN_PROBE = "session.open_probe"  # sid: wait until the probe is over, or unwanted
MAY_PONG = "session.may_pong"  # sid: is there a probe, whose ping may be answered?
# sid: answer its polls at once, since the probe has its pong. True: there is a probe. A
# worker of an earlier version asks only this, before it sends the pong.
PING_PROBE = "session.ping_probe"
TAKE = "session.take"  # sid: its state, or its `last` messages; None: it cannot move
# namespace, auth, the workers that led to this one, the last of which named it (a
# worker of another version might not send them): the socket's `state`, or the worker
# that it has `moved` to, which is None if no worker has it, or this one is about to
# stop. None: the client may not have the socket.
CLAIM = "socket.claim"
# namespace, handshake, state: keep the socket of a client that is away, because its
# worker stops. Workers of earlier versions do not know it.
KEEP = "socket.keep"
# worker, then the pid and time of each socket: sent to all workers, several times, when
# this worker has recreated sockets whose own worker was gone.
REVIVED = "socket.revived"

# The kind of an outcome, with what it carries.
ANSWER = "answer"  # a body
ACCEPT = "accept"
STATUS = "status"  # an HTTP status
REFUSAL = "refusal"  # the name of a `Refusal`
Outcome = list[Any]


def refusal(reason: Refusal) -> Outcome:
    """Return the outcome of a request that the session's worker refuses."""
    return [REFUSAL, reason.name]
