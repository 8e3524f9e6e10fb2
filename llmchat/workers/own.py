"""This process's mailbox."""

from __future__ import annotations

from channels.layers import InMemoryChannelLayer, get_channel_layer

from .address import address_of
from .mailbox import Mailbox


def open_mailbox(worker: str, *, is_away: bool = False) -> Mailbox | None:
    """Return a mailbox that listens, for the worker of this identity.

    `is_away`: the layer is known to be away, and that has been logged.
    None if the channel layer is in one process's memory: there are no other workers.
    """
    layer = get_channel_layer()
    if layer is None or isinstance(layer, InMemoryChannelLayer):
        return None
    mailbox = Mailbox(layer, address_of(worker), is_away=is_away)
    mailbox.start()
    return mailbox
