"""Namespaces: the code of an application, and the clients that joined it.

    class Lobby(Namespace):
        name = "/lobby"

        @event("say")
        async def say(self, socket: Socket, text: str, *, ack: Ack | None) -> None:
            self.emit("said", text, skip=[socket])
            if ack:
                ack(len(self.sockets))

Only events declared with `@event` have handlers: a name that a client sends is never
looked up among attributes.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

from .sockets import Ack, Socket

EventHandler = Callable[..., Awaitable[None]]
HandlerT = TypeVar("HandlerT", bound=EventHandler)

# The attribute of a function in which `event` notes what it handles.
_MARKER = "socketio_event"

_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


class ConnectionRefused(Exception):  # noqa: N818 - what happened, not an error
    """Raised by `on_connect` to turn a client away.

    The client gets `connect_error` with this message and data.
    """

    def __init__(self, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class ComeBackLater(Exception):  # noqa: N818 - what the client is to do, not an error
    """Raised by `on_recover` or `on_revive` if they cannot know now.

    The connection is closed, so the client comes back by itself, with the same `pid`
    and offset. Its socket is left as it is.
    """


class Arity(NamedTuple):
    """How many arguments of an event a handler takes."""

    least: int
    most: float


class Declared(NamedTuple):
    """A handler as it was declared."""

    attribute: str
    arity: Arity


def event(name: str) -> Callable[[HandlerT], HandlerT]:
    """Declare a method of a `Namespace` as the handler of an event.

    It is called as `handler(socket, *args, ack=…)`; `ack` is None if the client asked
    for no answer. An event with fewer or more arguments than the method takes is
    ignored.

    Raises:
        TypeError: the method takes no `ack`.
    """

    def declare(handler: HandlerT) -> HandlerT:
        setattr(handler, _MARKER, (name, _arity(handler)))
        return handler

    return declare


def _arity(handler: EventHandler) -> Arity:
    """Return how many arguments a handler takes, besides `self` and the socket."""
    parameters = inspect.signature(handler).parameters.values()
    kinds = {parameter.kind for parameter in parameters}
    if not any(p.name == "ack" or p.kind is p.VAR_KEYWORD for p in parameters):
        raise TypeError(f"{handler!r} handles an event, so it needs a parameter `ack`")
    positional = [p for p in parameters if p.kind in _POSITIONAL and p.name != "ack"]
    arguments = positional[2:]
    least = sum(p.default is inspect.Parameter.empty for p in arguments)
    variadic = inspect.Parameter.VAR_POSITIONAL in kinds
    return Arity(least, float("inf") if variadic else len(arguments))


class Namespace:
    """Your code, and all clients that joined it.

    `name` is what clients ask for. With `serial`, the default, a socket's events are
    handled one after another in the order of arrival; without, a handler starts when
    its event arrives. `vital` names the events that a client gets even if it has missed
    too much for a recovery.
    """

    name: ClassVar[str] = "/"
    serial: ClassVar[bool] = True
    vital: ClassVar[frozenset[str]] = frozenset()

    handlers: ClassVar[dict[str, Declared]] = {}

    def __init_subclass__(cls) -> None:
        declared = {}
        for attribute, member in vars(cls).items():
            if (marked := getattr(member, _MARKER, None)) is not None:
                name, arity = marked
                declared[name] = Declared(attribute, arity)
        cls.handlers = {**cls.handlers, **declared}

    def __init__(self) -> None:
        self._sockets: dict[str, Socket] = {}
        # The dicts serve as sets that keep their order.
        self._rooms: dict[str, dict[Socket, None]] = defaultdict(dict)

    # What to override.

    async def on_connect(self, socket: Socket) -> None:
        """Called before a client is let in. Raise `ConnectionRefused` to refuse.

        What is emitted here follows the answer that lets the client in.
        """

    async def on_joined(self, socket: Socket) -> None:
        """Called when a client is in, and again after each recovery of its socket."""

    async def on_recover(self, socket: Socket, auth: dict[str, Any]) -> bool:
        """Called when a client wants to take up its socket after a lost connection.

        `auth` is what it sends now. Return False to give it a new socket instead. Raise
        `ComeBackLater` if you cannot know now.
        """
        return True

    async def on_event(
        self, socket: Socket, name: Any, args: tuple[Any, ...], ack: Ack | None
    ) -> bool:
        """Called with every event, before its handler. Return False to drop it."""
        return True

    def shorten(self, name: str, args: tuple[Any, ...]) -> Sequence[Any]:
        """Called with a vital event whose arguments are too long to keep.

        Return the arguments that the client gets instead.
        """
        return args

    async def on_disconnect(self, socket: Socket, reason: str) -> None:
        """Called when the client is disconnected; within the window it may return.

        Everything it sent before has been handled by then.
        """

    async def on_forget(self, socket: Socket) -> None:
        """Called when the socket cannot come back any more."""

    # For several workers, any of which a client may reach, and any of which may end.

    def identity(self, socket: Socket) -> str:
        """Called when a socket is let in: whose is it? Only they may recover it."""
        return ""

    async def on_revive(self, socket: Socket, marks: Mapping[str, int]) -> bool:
        """Called when a client wants to take up a socket whose worker is gone.

        `socket` has the `auth` that it sends now, but neither data nor rooms. `marks`
        say how far it is with each log that it was being sent. Return False to give it
        a new socket instead. Raise `ComeBackLater` if you cannot know now.
        """
        return False

    def revived(self, socket: Socket, marks: Mapping[str, int]) -> None:
        """Called after `on_revive`, once it is known that the client had the socket.

        Send it the rest of the logs that `marks` name.
        """

    def may_move(self, socket: Socket) -> bool:
        """Called when a socket could move to another worker. False: not now."""
        return True

    def move_out(self, socket: Socket, worker: str) -> Any:
        """Called when a socket moves to another worker; no other hook follows here.

        Return what `move_in` needs there, made of lists, dicts, strings and numbers.
        """
        return None

    def move_in(self, socket: Socket, state: Any) -> None:
        """Called when a socket has arrived from another worker, with its rooms."""

    # What to call.

    @property
    def sockets(self) -> list[Socket]:
        """Return the sockets whose clients are connected."""
        return [socket for socket in self._sockets.values() if socket.connected]

    @property
    def absent(self) -> list[Socket]:
        """Return the sockets whose clients are disconnected and may come back."""
        return [socket for socket in self._sockets.values() if socket.is_absent]

    def sockets_in(self, room: str) -> list[Socket]:
        """Return the sockets in a room, the oldest first, absent ones included."""
        return list(self._rooms.get(room, ()))

    def emit(
        self,
        name: str,
        *args: Any,
        room: str | None = None,
        skip: Iterable[Socket] = (),
        volatile: bool = False,
    ) -> None:
        """Send an event to all clients, or to those in a room, except those in `skip`.

        Clients that are disconnected get it when they return. Raises what
        `Socket.emit` raises.
        """
        members = self._sockets.values() if room is None else self._rooms.get(room, ())
        skipped = set(skip)
        for socket in [s for s in members if s not in skipped]:
            if socket.connected or socket.is_absent:
                socket.emit(name, *args, volatile=volatile)

    # What the dispatcher calls.

    def handler(self, name: Any, count: int) -> EventHandler | None:
        """Return the handler declared for an event with this number of arguments."""
        declared = self.handlers.get(name) if isinstance(name, str) else None
        if declared is None:
            return None
        if not declared.arity.least <= count <= declared.arity.most:
            return None
        handler: EventHandler = getattr(self, declared.attribute)
        return handler

    def enter(self, socket: Socket, room: str) -> None:
        """Put a socket into a room, unless it is forgotten and could never leave."""
        if socket.id in self._sockets:
            self._rooms[room][socket] = None
            socket.rooms.add(room)

    def exit(self, socket: Socket, room: str) -> None:
        """Take a socket out of a room; a room without sockets ends."""
        socket.rooms.discard(room)
        members = self._rooms.get(room)
        if members is not None:
            members.pop(socket, None)
            if not members:
                del self._rooms[room]

    def register(self, socket: Socket) -> None:
        """Take in a socket that may join; every socket has a room of its own."""
        self._sockets[socket.id] = socket
        self.enter(socket, socket.id)

    def find(self, socket_id: str) -> Socket | None:
        """Return the socket with this id, whether it has joined or is about to."""
        return self._sockets.get(socket_id)

    def forget(self, socket: Socket) -> None:
        """Forget a socket, and take it out of its rooms."""
        if self._sockets.get(socket.id) is socket:
            del self._sockets[socket.id]
        for room in list(socket.rooms):
            self.exit(socket, room)
