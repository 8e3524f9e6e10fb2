"""Processes that start with the libraries already imported.

Most of a server's start is spent importing libraries, the same ones for every server.
One process for each worker of pytest-xdist imports them once, and forks for each
server. Of the project's own modules it imports only those that need no settings: the
others are imported by the server itself, in its own environment.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

from django.conf import settings

ROOT = Path(__file__).resolve().parents[2]
# Libraries that need no settings, and that start neither a thread nor an event loop.
_LIBRARIES = (
    *("django.core.management", "django.core.handlers.asgi", "django.views.generic"),
    *("django.db.backends.sqlite3.base", "django.contrib.staticfiles.handlers"),
    *("django.contrib.admin.checks", "django.db.migrations", "psycopg"),
    *("channels.layers", "channels.generic.http", "channels_redis.pubsub"),
    *("uvicorn.config", "websockets.asyncio.server", "httptools", "uvloop"),
    *("httpx", "aiohttp", "orjson", "msgpack", "yaml", "jwt", "cryptography.fernet"),
    *("requests", "pygments", "uritemplate", "prometheus_client", "whitenoise"),
    *("twisted.web.http", "twisted.internet.endpoints", "autobahn.twisted.websocket"),
    *("psycopg_pool", "llmchat.realtime", "llmchat.providers.client"),
)
# Not imported yet: each process must install a reactor of its own.
_NONE_YET = "twisted.internet.reactor"
_REQUEST_BYTES = 64 * 1024
_LIMIT_S = 60.0


class Process:
    """A forked process, with the methods of a `subprocess.Popen` that tests use."""

    def __init__(self, told: int) -> None:
        """`told` is a pipe that delivers the process's id and, finally, its status."""
        self._told = os.fdopen(told, "rb", buffering=0)
        self.returncode: int | None = None
        self.pid = int(self._line(_LIMIT_S) or 0)
        if not self.pid:
            raise RuntimeError("no process was forked")

    def poll(self) -> int | None:
        """Return the status if the process has ended, else None."""
        if self.returncode is None and (line := self._line(0)) is not None:
            # An empty line: the parent, which would have reported it, is gone.
            self.returncode = int(line or -signal.SIGKILL)
            self._told.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end.

        Raises: subprocess.TimeoutExpired.
        """
        if self.returncode is None:
            select.select([self._told], [], [], timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal to a process that still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process."""
        self.send_signal(signal.SIGKILL)

    def _line(self, timeout: float) -> bytes | None:
        """Return the next line, None if there is none yet."""
        if not select.select([self._told], [], [], timeout)[0]:
            return None
        return self._told.readline()


def start(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    output: IO[bytes],
    errors: IO[bytes] | None = None,
    strict: bool = False,
) -> Process:
    """Run a module of Python: its name, and what follows it on the command line.

    `errors`: where its standard error goes, if not to `output` as well. `strict`: its
    warnings are errors.
    """
    read, write = os.pipe()
    asked = {"arguments": arguments, "env": dict(env), "strict": strict}
    request = json.dumps(asked).encode()
    outputs = [file.fileno() for file in (output, errors or output)]
    try:
        socket.send_fds(_parent(), [request], [*outputs, write])
    finally:
        os.close(write)
    return Process(read)


@cache
def _parent() -> socket.socket:
    """Start the process that forks; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm"],
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            cwd=ROOT,
            stdin=theirs,
        )

    def stop() -> None:
        ours.close()
        process.wait(_LIMIT_S)

    atexit.register(stop)
    return ours


# The process that forks.


class _Parent:
    """Forks for each request, and reports how the children end."""

    def __init__(self) -> None:
        self._requests = socket.socket(fileno=os.dup(0))
        self._tellers: dict[int, int] = {}
        self._wakes, self._woken = os.pipe()
        os.set_blocking(self._woken, False)

    def serve(self) -> dict[str, Any] | None:
        """Return the request in each child, which carries it out; None at the end."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # children are stopped by tests
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        while True:
            ready, _, _ = select.select([self._requests, self._wakes], [], [])
            if self._wakes in ready:
                os.read(self._wakes, 4096)
                self._tell_ends()
            if self._requests not in ready:
                continue
            request, fds, _, _ = socket.recv_fds(self._requests, _REQUEST_BYTES, 3)
            if not request:
                return None
            *outputs, teller = fds
            if child := os.fork():
                for output in outputs:
                    os.close(output)
                self._tellers[child] = teller
                os.write(teller, b"%d\n" % child)
            else:
                self._leave(*outputs)
                return dict(json.loads(request))

    def _tell_ends(self) -> None:
        while self._tellers:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                return
            teller = self._tellers.pop(child)
            os.write(teller, b"%d\n" % os.waitstatus_to_exitcode(status))
            os.close(teller)

    def _leave(self, output: int, errors: int) -> None:
        """Become like any other process that was just started."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._requests.detach()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (output, 1), (errors, 2)):
            os.dup2(source, target)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def _become(request: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    if request["strict"]:
        warnings.simplefilter("error")
    module, *arguments = request["arguments"]
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _main() -> None:
    for name in _LIBRARIES:
        importlib.import_module(name)
    assert _NONE_YET not in sys.modules
    assert threading.active_count() == 1
    assert not settings.configured
    gc.freeze()
    request = _Parent().serve()
    if request is not None:
        _become(request)


if __name__ == "__main__":
    _main()
