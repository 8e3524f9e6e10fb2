"""Socket.IO as an application for `Server`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from llmchat.workers import Mailbox

from .line import SocketIOLine
from .members import Absent, Members
from .namespaces import Namespace
from .peer import Peer
from .pids import Pids
from .relay.claims import Claims
from .relay.parting import Parting
from .socketio.connection import Limits


@dataclass(frozen=True, slots=True)
class SocketIOOptions:
    """How Socket.IO is offered. `recovery_window_s` 0 switches recovery off.

    Workers that share a `secret` can recreate the sockets of a worker that is gone.
    `address` is this worker's.
    """

    limits: Limits = field(default_factory=Limits)
    recovery_window_s: float = 0.0
    address: str = ""
    secret: bytes = b""


class SocketIO:
    """An application for `Server`: Socket.IO with these namespaces."""

    def __init__(
        self,
        namespaces: Iterable[Namespace],
        options: SocketIOOptions | None = None,
    ) -> None:
        self.namespaces = {namespace.name: namespace for namespace in namespaces}
        self.options = options or SocketIOOptions()
        pids = Pids(self.options.address, self.options.secret)
        self._members = Members(self.options.recovery_window_s, pids)
        self._parting: Parting | None = None

    def __call__(self, peer: Peer) -> SocketIOLine:
        """Return the connection of a new session."""
        return SocketIOLine(peer, self.namespaces, self._members, self.options.limits)

    @property
    def absent(self) -> Absent:
        """Return the sockets that wait for their clients, and what is kept for them."""
        return self._members.absent

    def join(self, mailbox: Mailbox) -> None:
        """Let clients recover their sockets on any of several workers."""
        self._members.pids.address = mailbox.address
        Claims(mailbox, self._members, self.namespaces)
        self._parting = Parting(mailbox, self._members, self.namespaces)

    @property
    def awaits_clients(self) -> bool:
        """Return whether sockets wait for their clients, or are on their way here."""
        return bool(self._members.waiting() or self._members.is_fetching)

    async def hand_over(self, worker: str) -> None:
        """Let another worker keep the sockets that wait, since this one stops."""
        if self._parting is not None:
            await self._parting.hand_over(worker)

    def shutdown(self) -> None:
        """Forget every socket that waits for its client's return."""
        self._members.shutdown()
