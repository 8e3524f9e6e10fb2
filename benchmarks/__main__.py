"""Measure the server: `python -m benchmarks [NAME …]`, all of them by default."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable

from benchmarks import cores, database, report, turns, workers

BENCHMARKS: dict[str, Callable[[], None]] = {
    "turns": turns.main,
    "database": database.main,
    "workers": workers.main,
    "cores": cores.main,
}


def main() -> None:
    """Run the named benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or list(BENCHMARKS)
    for name in names:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark {name!r}")
    # What was started is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for name in names:
        BENCHMARKS[name]()
    report.fail_if_faulty()


if __name__ == "__main__":
    main()
