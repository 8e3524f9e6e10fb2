"""A worker's eye on the process that started it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

from llmchat import conf

# Beside the time for running answers: a client that takes nothing holds up the end.
_STOP_S = 25.0


def watch() -> None:
    """Stop this process when the one that started it is gone.

    Called in every server process. Of an only one nothing is watched: whoever started
    it may go. A master, though, would be started anew, and find its port taken.
    """
    master = multiprocessing.parent_process()
    if master is not None:
        # Not the event loop: one that hangs must end, too.
        threading.Thread(target=_outlive, args=(master,), daemon=True).start()


def _outlive(master: multiprocessing.process.BaseProcess) -> None:
    master.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(conf.get().drain_s + _STOP_S)
    os._exit(1)
