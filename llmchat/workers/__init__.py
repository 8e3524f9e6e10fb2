"""Messages between the workers of one installation, through the channel layer.

A worker is a process that serves requests. Each has its own `Mailbox`. A lone worker
has none; whatever is addressed to another worker then simply does not exist.
"""

from .address import address_of
from .mailbox import (
    Ask,
    AwayError,
    FailedError,
    GoneError,
    Mailbox,
    UnreachableError,
)
from .own import open_mailbox
from .presence import Presence
from .route import GONE_S

__all__ = [
    "GONE_S",
    "Ask",
    "AwayError",
    "FailedError",
    "GoneError",
    "Mailbox",
    "Presence",
    "UnreachableError",
    "address_of",
    "open_mailbox",
]
