"""The authorities that httpx trusts, read once for all clients of the tests.

httpx reads them for each client, even for one that speaks no TLS. That takes forty
milliseconds of processor time, more than the rest of most tests of a server.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
import pytest
from httpx._transports import default

__all__ = ["read_once"]

NAMED = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@cache
def _usual() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


def _context(
    verify: Any = True, cert: Any = None, trust_env: bool = True
) -> ssl.SSLContext:
    named = trust_env and any(name in os.environ for name in NAMED)
    if verify is True and cert is None and not named:
        return _usual()
    return httpx.create_ssl_context(verify, cert, trust_env)


@pytest.fixture(scope="session", autouse=True)
def read_once() -> Iterator[None]:
    """Give the same context to all clients that use the defaults."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(default, "create_ssl_context", _context)
        yield
