"""One normalized form for each user name.

The same name can be typed in several ways: in full or half width, with composed or
decomposed accents, with a space at the end. Names are stored and looked up in the form
that Django's forms use (NFKC).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Literal, cast

_Form = Literal["NFC", "NFD", "NFKC", "NFKD"]


def normalize(name: str) -> str:
    """Return the form in which a user name is stored, looked up and counted."""
    return unicodedata.normalize("NFKC", name.strip()).strip()


def spellings(name: str) -> Iterator[str]:
    """Yield the forms in which a name may be stored, the likeliest first.

    A row that was not written by Django (an import, SQL) may hold a name that is not
    normalized.
    """
    stripped = name.strip()
    forms = (unicodedata.normalize(cast(_Form, form), stripped) for form in _FORMS)
    yield from dict.fromkeys([name, normalize(name), *forms])


_FORMS = ("NFC", "NFD", "NFKD")
