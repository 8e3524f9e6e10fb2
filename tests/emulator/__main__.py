"""`python -m tests.emulator --port 4100`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib

from .application import emulator


async def _serve(port: int) -> None:
    async with emulator(port) as server:
        print(f"emulator at {server.url}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.emulator")
    parser.add_argument("--port", type=int, default=4100)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
