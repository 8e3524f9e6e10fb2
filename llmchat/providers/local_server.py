"""The process that holds the embedded model. Started by `local.LocalModel`.

It is run as a script, with the path of the weights as its argument, and imports nothing
from this project. It prints one line with its address when it is ready, and lives until
its standard input ends, so that it never outlives its parent, whatever kills the
parent.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Any

READY = "llmchat-local-model ready at "
MODEL = "SmolLM2-135M-Instruct"
SLOTS = 4
TOKENS_PER_SLOT = 4096


def main(weights: str) -> None:
    """Load the model and serve it until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    # The module is compiled, has no types, and is not installed everywhere.
    xllamacpp: Any = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = weights
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * TOKENS_PER_SLOT
    params.n_gpu_layers = 0
    # Its threads spin until all are done with a layer: more of them than idle cores
    # make it many times slower, and the web server needs a core too.
    threads = max(1, min(4, len(os.sched_getaffinity(0)) // 2))
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.warmup = False
    params.ui = False
    params.endpoint_slots = False
    params.cors_origins = ""
    server = xllamacpp.Server(params)
    # One write, on a line of its own: llama.cpp's threads log to the same pipe.
    os.write(sys.stdout.fileno(), f"\n{READY}{server.listening_address}\n".encode())
    while os.read(0, 4096):
        pass
    os._exit(0)  # an orderly end would wait for answers that nobody wants


if __name__ == "__main__":
    main(sys.argv[1])
