"""This process's mailbox."""

from __future__ import annotations

from channels.layers import InMemoryChannelLayer, get_channel_layer

from .address import address_of
from .mailbox import Mailbox


def open_mailbox(worker: str) -> Mailbox | None:
    """Return a mailbox that listens, for the worker of this identity.

    None if the channel layer is in one process's memory: there are no other workers.
    """
    layer = get_channel_layer()
    if layer is None or isinstance(layer, InMemoryChannelLayer):
        return None
    mailbox = Mailbox(layer, address_of(worker))
    mailbox.start()
    return mailbox
