"""Start the production server with the project's settings: `python -m serving`.

The process becomes uvicorn, with the command line that measured best and that is
printed first, so that nobody has to guess how to write it into a unit file.
"""

from __future__ import annotations

import os
import shlex
import sys

from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")


def command() -> list[str]:
    """Return uvicorn's command line for the settings as they are."""
    proxies = (
        ["--proxy-headers", "--forwarded-allow-ips", settings.FORWARDED_ALLOW_IPS]
        if settings.FORWARDED_ALLOW_IPS
        else ["--no-proxy-headers"]
    )
    return [
        "uvicorn",
        "config.asgi:application",
        *("--host", settings.HOST),
        *("--port", str(settings.PORT)),
        *("--workers", str(settings.WEB_CONCURRENCY)),
        *("--loop", "uvloop"),
        *("--ws", "websockets-sansio"),
        *("--ws-per-message-deflate", "false"),
        # Engine.IO has a heartbeat and a limit of its own, the same for polling.
        *("--ws-max-size", str(settings.LLMCHAT["max_payload_bytes"])),
        *("--ws-ping-interval", "0"),
        *("--timeout-graceful-shutdown", "10"),
        "--no-access-log",
        "--no-server-header",
        *("--log-level", "warning"),
        *proxies,
    ]


def main() -> None:
    """Say where the server will be, and become it."""
    line = command()
    print(f"Serving on http://localhost:{settings.PORT} ({shlex.join(line)})")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", *line])


if __name__ == "__main__":
    main()
