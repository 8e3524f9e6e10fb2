"""How a worker is addressed: short, and safe in ids and in names of channels."""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode

LENGTH = 11
_ADDRESS = re.compile(r"[A-Za-z0-9_-]{11}")


def address_of(worker: str) -> str:
    """Return the address of a worker, given its identity as stored in the database."""
    digest = hashlib.blake2b(worker.encode(), digest_size=8).digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")


def is_address(text: str) -> bool:
    """Return whether this has the form of an address; a client may have made it up."""
    return _ADDRESS.fullmatch(text) is not None


def channel_of(address: str) -> str:
    """Return the channel of a worker's mailbox."""
    return f"llmchat.worker.{address}"
