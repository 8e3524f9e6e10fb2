"""The load balancer of `tests/proxy.py` in a process, and what `make balanced` sets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.support.live import ROOT, free_port
from tests.support.wire import wait_until_open

# How many processes replace each server; with 0, none do.
IN_PLACE = int(os.environ.get("LLMCHAT_TEST_WORKERS", "0"))


@contextmanager
def balanced(ports: Sequence[int], port: int | None = None) -> Iterator[int]:
    """Forward requests on `port` to each of `ports` in turn; yield `port`."""
    port = port or free_port()
    to = ",".join(map(str, ports))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.proxy", "--port", str(port), "--to", to],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until_open([port], process)
        yield port
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
