"""Who is behind a socket: the user, the token and its end, the streams it hears."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth import get_user_model

from accounts.tokens import Verified, active_user, bearer_token, verify, was_active
from llmchat import conf
from llmchat.answers.live_stream import LiveStream
from llmchat.api.socket_reader import SocketReader
from llmchat.database import read_database
from llmchat.errors import ChatError, refusal
from llmchat.realtime import ConnectionRefused, Socket

_TOKEN_CODES = frozenset({"token_expired", "token_invalid"})


# A user, and a generation of the user's tokens.
Holder = tuple[int, int]


@dataclass(slots=True)
class Visitor:
    """What is known of a socket's client: its `data`.

    `expires_at` in epoch seconds; `generation` is that of the token. `running` are the
    streams that it hears, `leaving` says that the connection is to be closed behind
    them.
    """

    user_id: int
    expires_at: float
    generation: int = 0
    running: dict[LiveStream, SocketReader] = field(default_factory=dict)
    leaving: bool = False
    next_refusal_at: float = 0.0

    @property
    def holder(self) -> Holder:
        """Whose token it came with, and of which generation."""
        return self.user_id, self.generation


def room_of(user_id: int) -> str:
    """Return the room of all sockets of a user."""
    return f"user:{user_id}"


def most_sockets() -> int:
    """Return how many sockets a user may have."""
    return conf.get().max_sockets_per_user


def refused(error: ChatError) -> ConnectionRefused:
    """Return what turns a client away with this error."""
    return ConnectionRefused(error.text, error_data(error))


def error_data(error: ChatError) -> dict[str, Any]:
    """Return the `data` of a `connect_error`."""
    data: dict[str, Any] = {"code": error.code}
    if error.retry_after is not None:
        data["retryAfter"] = error.retry_after
    return data


def visitor_of(socket: Socket) -> Visitor:
    """Return what is known of a socket's client."""
    visitor: Visitor = socket.data
    return visitor


async def authenticate(socket: Socket, auth: dict[str, Any]) -> Verified:
    """Return whose token a CONNECT brings, and its end.

    A client that cannot set `auth` sends the header. Never the query, which ends up
    in access logs.

    Raises: TokenError.
    """
    token = auth.get("token")
    if token is None or token == "":
        token = bearer_token(socket.handshake.headers.get("authorization"))
    verified = verify(token)
    if not was_active(verified):
        await read_database(active_user, verified)
    return verified


async def holders_now(user_ids: set[int]) -> set[Holder]:
    """Return those of the users that are active, with the generation that counts."""
    return await read_database(_holders_now, user_ids)


def _holders_now(user_ids: set[int]) -> set[Holder]:
    users = get_user_model().objects.filter(pk__in=user_ids, is_active=True)
    return set(users.values_list("pk", "token_generation"))


def is_over(socket: Socket) -> bool:
    """Return whether the token has ended and no stream needs the socket."""
    visitor = visitor_of(socket)
    return time.time() >= visitor.expires_at and not visitor.running


def check_expiry(socket: Socket) -> None:
    """Check the end of a socket's token.

    Raises: ChatError `token_expired`.
    """
    if time.time() >= visitor_of(socket).expires_at:
        raise refusal("token_expired")


def leave_when_idle(socket: Socket, error: ChatError | None) -> None:
    """Close the connection of one whose token has ended, behind its last stream.

    The client comes back by itself, with a fresh token if it has one.
    """
    visitor = visitor_of(socket)
    if error is not None and error.code in _TOKEN_CODES:
        visitor.leaving = True
    if visitor.leaving and not visitor.running:
        socket.close_transport()
