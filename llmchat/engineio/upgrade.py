"""Where a session's packets travel, and how that changes: the upgrade as a table.

Spec: Engine.IO protocol 4, "Upgrade".
"""

from __future__ import annotations

from enum import Enum, auto


class Link(Enum):
    """Where the session's packets travel."""

    POLLING = auto()
    PROBING = auto()  # polling, with a WebSocket opened beside it
    PROBED = auto()  # the same, after the probe's ping
    WEBSOCKET = auto()


class Signal(Enum):
    """What happens to the transports."""

    PROBE_OPENED = auto()
    PROBE_PINGED = auto()
    PROBE_LOST = auto()
    UPGRADED = auto()


# The upgrade, whole. What is not in the table does not happen.
TRANSITIONS: dict[tuple[Link, Signal], Link] = {
    (Link.POLLING, Signal.PROBE_OPENED): Link.PROBING,
    (Link.PROBING, Signal.PROBE_PINGED): Link.PROBED,
    (Link.PROBED, Signal.PROBE_PINGED): Link.PROBED,
    (Link.PROBING, Signal.PROBE_LOST): Link.POLLING,
    (Link.PROBED, Signal.PROBE_LOST): Link.POLLING,
    (Link.PROBING, Signal.UPGRADED): Link.WEBSOCKET,
    (Link.PROBED, Signal.UPGRADED): Link.WEBSOCKET,
}
