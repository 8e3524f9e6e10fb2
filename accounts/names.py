"""One normalized form for each user name.

The same name can be typed in several ways: in full or half width, with composed or
decomposed accents, with a space at the end. Names are stored and looked up in the form
that Django's forms use (NFKC).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Literal

_Form = Literal["NFC", "NFD", "NFKC", "NFKD"]

# Normalization turns at most four characters into one, so a longer text is not a name
# of 150 characters. Sorting accents takes time that grows with the square of their
# number: a megabyte of them would stop the process for minutes.
_LONGEST = 1000


def normalize(name: str) -> str:
    """Return the form in which a user name is stored, looked up and counted.

    A text that is too long for a name is returned unchanged, and so is still too long.
    """
    return _normalized("NFKC", name.strip()).strip()


def spellings(name: str) -> Iterator[str]:
    """Yield the forms in which a name may be stored, the most likely first.

    A row that was not written by Django (an import, SQL) may hold a name that is not
    normalized.
    """
    stripped = name.strip()
    forms = (_normalized(form, stripped) for form in _FORMS)
    yield from dict.fromkeys([name, normalize(name), *forms])


_FORMS: tuple[_Form, ...] = ("NFC", "NFD", "NFKD")


def _normalized(form: _Form, text: str) -> str:
    return text if len(text) > _LONGEST else unicodedata.normalize(form, text)
