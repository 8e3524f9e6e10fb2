"""The code blocks of the documentation, ready to run."""

from __future__ import annotations

import re

from tests.support.live import ROOT, Account, LiveServer


def script(page: str, language: str, holding: str) -> str:
    """Return the one code block of a page that contains a text."""
    blocks = re.findall(
        rf"^```{language}\n(.*?)^```$",
        (ROOT / page).read_text(),
        re.DOTALL | re.MULTILINE,
    )
    (found,) = [block for block in blocks if holding in block]
    return str(found)


def aimed_at(server: LiveServer, account: Account, code: str) -> str:
    """Return a code block with its placeholders replaced by a test's own values."""
    for documented, actual in (
        ("http://localhost:3000", server.url),
        ('"demo"', f'"{account.username}"'),
        ("THE PRINTED PASSWORD", account.password),
        ("YOUR ACCESS TOKEN", account.access),
        ("YOUR_ACCESS_TOKEN", account.access),
    ):
        code = code.replace(documented, actual)
    return code
