"""User names: one form for each, wherever a name comes in.

The same name can be typed in several ways: in full or half width, with an accent as a
part of its letter or behind it, with a space at its end. Names are stored in the form
that Django's forms give them, and looked up in that form.
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
    """Yield how a name may be stored, the likeliest first, each once.

    A row that was written behind Django's back (an import, SQL) may hold a name that
    is not normalized.
    """
    stripped = name.strip()
    forms = (unicodedata.normalize(cast(_Form, form), stripped) for form in _FORMS)
    yield from dict.fromkeys([name, normalize(name), *forms])


_FORMS = ("NFC", "NFD", "NFKD")
