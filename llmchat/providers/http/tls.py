"""Which certificates are trusted."""

from __future__ import annotations

import os
import ssl
from functools import cache

import certifi


@cache
def tls_context() -> ssl.SSLContext:
    """Return the context of all connections, made once because that takes a while.

    `SSL_CERT_FILE` or `SSL_CERT_DIR` replaces the authorities that are shipped.
    """
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not folder:
        file = certifi.where()
    context = ssl.create_default_context(cafile=file or None, capath=folder or None)
    context.set_alpn_protocols(["http/1.1"])
    return context
