"""What the workers of one installation tell each other, through the channel layer.

A worker is a process that serves. Each has a `Mailbox` of its own; one that is alone
has none, and whatever is addressed to another worker is then simply not there.
"""

from .address import address_of
from .mailbox import Ask, AwayError, GoneError, Mailbox, UnreachableError
from .own import open_mailbox
from .presence import Presence
from .route import GONE_S

__all__ = [
    "GONE_S",
    "Ask",
    "AwayError",
    "GoneError",
    "Mailbox",
    "Presence",
    "UnreachableError",
    "address_of",
    "open_mailbox",
]
