"""Who a socket belongs to: the user, the token, the streams that it receives."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from django.contrib.auth import get_user_model
from django.db import DatabaseError, InterfaceError

from accounts import api_keys
from accounts.errors import AccountError
from accounts.tokens import bearer_token, known, user_for_token
from accounts.verified import Scope, Verified
from llmchat import conf
from llmchat.answers.log import AnswerLog
from llmchat.api.awaited import Awaited
from llmchat.api.key_uses import store_uses
from llmchat.api.socket_reader import SocketReader
from llmchat.database import read_database
from llmchat.errors import ChatError, refusal, unavailable
from llmchat.realtime import ConnectionRefused, Socket

_TOKEN_CODES = frozenset({"token_expired", "token_invalid", "scope_missing"})


@dataclass(slots=True)
class Visitor:
    """What is known about a socket's client; it is the socket's `data`.

    `verified` is what its token or API key says. `running` holds the streams that it
    receives, and `awaited` those that it is to receive once they are found (for most
    clients there are none); with `leaving` the connection is to be closed after the
    last of them. `is_lost` says that one of them was not found, so the client is to
    get another socket. Before `next_refusal_at` it is not told again that it is over
    the limit. `heard_end_at` is when an answer last ended for it. Both are in the
    seconds of `time.monotonic`.
    """

    verified: Verified
    running: dict[AnswerLog, SocketReader] = field(default_factory=dict)
    leaving: bool = False
    awaited: Awaited | None = None
    is_lost: bool = False
    next_refusal_at: float = 0.0
    heard_end_at: float = -math.inf

    @property
    def is_idle(self) -> bool:
        """Whether it neither receives an answer nor awaits one."""
        return not self.running and (self.awaited is None or self.awaited.is_empty)

    @property
    def user_id(self) -> int:
        """The user to whom the socket belongs."""
        return self.verified.user_id


def room_of(user_id: int) -> str:
    """Return the room of all sockets of a user."""
    return f"user:{user_id}"


def refused(error: ChatError) -> ConnectionRefused:
    """Return the exception that turns a client away with this error."""
    return ConnectionRefused(error.text, error_data(error))


def error_data(error: ChatError) -> dict[str, Any]:
    """Return the `data` of a `connect_error`."""
    data: dict[str, Any] = {"code": error.code}
    if error.retry_after is not None:
        data["retryAfter"] = error.retry_after
    return data


def visitor_of(socket: Socket) -> Visitor:
    """Return what is known about a socket's client."""
    visitor: Visitor = socket.data
    return visitor


def make_room(sockets: Sequence[Socket]) -> None:
    """Make room for one more socket of the user whose `sockets` these are.

    If there are as many as allowed, one is forgotten that waits for its client to come
    back: the oldest, preferably of those that receive and await no answer.

    Raises: ConnectionRefused, if the clients of all of them are connected.
    """
    if len(sockets) < conf.get().max_sockets_per_user:
        return
    absent = (socket for socket in sockets if socket.is_absent)
    oldest = next(absent, None)
    if oldest is None:
        raise refused(refusal("too_many_sockets"))
    # In most cases it is the first one, so the others are not looked at.
    idle = (socket for socket in chain([oldest], absent) if visitor_of(socket).is_idle)
    next(idle, oldest).disconnect()


async def authenticate(socket: Socket, auth: dict[str, Any]) -> Verified:
    """Return what the access token or API key of a CONNECT says.

    A client that cannot set `auth` sends the `Authorization` header. The query string
    is never read, because it ends up in access logs.

    Raises: TokenError, ScopeError.
    """
    token = auth.get("token")
    if token is None or token == "":
        token = bearer_token(socket.handshake.headers.get("authorization"))
    verified = known(token)
    if verified is None:
        verified = await read_database(_verified, token)
    verified.require(Scope.CHAT)
    await store_uses()
    return verified


def _verified(token: object) -> Verified:
    return user_for_token(token)[1]


async def no_longer_welcome(sockets: Iterable[Socket]) -> list[Socket]:
    """Return the sockets whose token, key or account has ended.

    A token also ends when its user's password changes. For the other sockets, note
    what their API keys say now.

    Raises: DatabaseError, InterfaceError.
    """
    asked = {socket: visitor_of(socket).verified for socket in sockets}
    users = {verified.user_id for verified in asked.values()}
    generations = await read_database(_generations, users)
    keys = {
        verified.key_id for verified in asked.values() if verified.key_id is not None
    }
    unrevoked = await read_database(api_keys.unrevoked, keys) if keys else {}
    await store_uses()
    return [
        socket
        for socket, verified in asked.items()
        if _is_over(visitor_of(socket))
        # If it has brought another token meanwhile, nothing was read about that one.
        or (
            visitor_of(socket).verified == verified
            and _is_out(visitor_of(socket), generations, unrevoked)
        )
    ]


def _generations(user_ids: set[int]) -> dict[int, int]:
    """Return the token generation of each of these users who is active."""
    users = get_user_model().objects.filter(pk__in=user_ids, is_active=True)
    return dict(users.values_list("pk", "token_generation"))


def _is_over(visitor: Visitor) -> bool:
    """Return whether the token has expired and no stream needs the socket."""
    return time.time() >= visitor.verified.expires_at and visitor.is_idle


def _is_out(
    visitor: Visitor, generations: Mapping[int, int], unrevoked: Mapping[int, Verified]
) -> bool:
    """Return whether a token or key is invalid now; else note what the key says."""
    verified = visitor.verified
    generation = generations.get(verified.user_id)
    if generation is None or not verified.is_of(generation):
        return True
    if verified.key_id is None:
        return False
    now = unrevoked.get(verified.key_id)
    if now is None or Scope.CHAT not in now.scopes:
        return True
    visitor.verified = now
    return False


async def check_welcome(socket: Socket) -> None:
    """Check that a socket's token or API key is still valid, as REST does.

    A key is read again, unless it was read a moment ago. Of a token only the expiry is
    checked: `Watch` looks after the rest.

    Raises: ChatError `token_expired`, `token_invalid`, `scope_missing`,
        `database_unavailable`.
    """
    visitor = visitor_of(socket)
    if time.time() >= visitor.verified.expires_at:
        raise refusal("token_expired")
    if visitor.verified.key_id is None:
        return
    try:
        visitor.verified = await authenticate(socket, socket.auth)
    except AccountError as exc:
        raise ChatError(exc.code, exc.text, exc.status) from exc
    except (DatabaseError, InterfaceError) as exc:
        raise unavailable() from exc


def leave_when_idle(socket: Socket, error: ChatError | None) -> None:
    """Close a connection after its last stream if its token has ended or it is lost.

    `error` is what the client has just been refused with, if it has. The client comes
    back by itself, with a fresh token if it has one.
    """
    visitor = visitor_of(socket)
    if error is not None and error.code in _TOKEN_CODES:
        visitor.leaving = True
    if (visitor.leaving or visitor.is_lost) and visitor.is_idle:
        socket.close_transport()
