"""Write a `.env` with new secrets, if there is none.

Run `python scripts/write_env.py` in the folder that gets the file.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet


def main() -> None:
    """Create the file with mode 600; leave an existing one alone."""
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
    print("Wrote .env with new secrets")


if __name__ == "__main__":
    main()
