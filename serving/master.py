"""What ties a worker to its master process: it ends with it, and obeys its signals."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

from llmchat import conf

# Added to the time for running answers: a client that does not read delays the end.
_STOP_S = 25.0
# The signal with which a master makes a worker that is already stopping skip the wait.
HURRY = signal.SIGUSR1


def exists() -> bool:
    """Return whether this process is a worker; a single server process is not."""
    return multiprocessing.parent_process() is not None


def watch() -> None:
    """Stop this worker when its master has died; called in every server process.

    Otherwise a restarted master would find its port in use. A single server process has
    no master, and is allowed to outlive the process that started it.
    """
    master = multiprocessing.parent_process()
    if master is not None:
        # A thread, not the event loop: a loop that hangs must end, too.
        threading.Thread(target=_outlive, args=(master,), daemon=True).start()


def _outlive(master: multiprocessing.process.BaseProcess) -> None:
    master.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(conf.get().drain_s + _STOP_S)
    os._exit(1)
