"""Runs the code in its argument, as `python -c` does, for processes that are forked."""

from __future__ import annotations

import os
import sys
import traceback


def run(code: str) -> int:
    """Run the code and return the status of the process."""
    try:
        exec(code, {"__name__": "__main__"})
    except SystemExit as exc:
        if exc.code is None or isinstance(exc.code, int):
            return exc.code or 0
        print(exc.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    status = run(sys.argv[1])
    if "coverage" in sys.modules:  # it is written at the end
        sys.exit(status)
    sys.stdout.flush()
    sys.stderr.flush()
    # Clearing away all the libraries would take several times as long as the code.
    os._exit(status)


if __name__ == "__main__":
    main()
