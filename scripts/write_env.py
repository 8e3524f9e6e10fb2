"""Write a `.env` with fresh secrets, where there is none.

Run as `python scripts/write_env.py`, in the folder that gets the file.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet


def main() -> None:
    """Create the file for its owner's eyes only; an existing one is left alone."""
    path = Path(".env")
    lines = (
        "# Written by `make install`. Keep it secret; see .env.example for the rest.",
        f"DJANGO_SECRET_KEY={secrets.token_urlsafe(48)}",
        f"LLMCHAT_ENCRYPTION_KEYS={Fernet.generate_key().decode()}",
    )
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with open(file, "w", encoding="utf-8") as opened:
        opened.write("\n".join(lines) + "\n")
    print("Wrote .env with fresh secrets")


if __name__ == "__main__":
    main()
