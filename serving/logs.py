"""What the log is spared."""

from __future__ import annotations

import logging


class PeersFault(logging.Filter):
    """Takes for what it is what a server logs of a peer that breaks the protocol.

    uvicorn logs text that is no UTF-8 as an error, with a traceback, and closes the
    WebSocket as it should. Nothing is wrong here, and anybody can send it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record pass, as a warning of one line if it is such a one."""
        if record.exc_info and isinstance(record.exc_info[1], UnicodeDecodeError):
            record.exc_info = None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True
