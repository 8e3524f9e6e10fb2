"""The parser of `.env`: lines `NAME=value`, as people write them.

Spaces around `=`, a leading `export`, quotes, a trailing comment and a byte order mark
are understood. In double quotes a backslash escapes; everywhere else the value is taken
literally. If a name occurs twice, the first value is used.
"""

from __future__ import annotations

import re

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_COMMENT = r"\s*(?:#.*)?"
_DOUBLE = re.compile(rf'"((?:[^"\\]|\\.)*)"{_COMMENT}')
_SINGLE = re.compile(rf"'([^']*)'{_COMMENT}")
_PLAIN = re.compile(r"(.*?)(?:(?:^|\s+)#.*)?")
_ESCAPED = re.compile(r"\\(.)")
_CONTROL = {"n": "\n", "r": "\r", "t": "\t"}


class LineError(ValueError):
    """An invalid line; has its number, never its text."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def parse(content: bytes) -> dict[str, str]:
    """Return the variables of a file. Raises: LineError."""
    variables: dict[str, str] = {}
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for number, raw in enumerate(lines, start=1):
        try:
            line = raw.decode().strip()
        except UnicodeDecodeError:
            raise LineError(number) from None
        if line and not line.startswith("#"):
            name, value = _variable(line, number)
            variables.setdefault(name, value)
    return variables


def _variable(line: str, number: int) -> tuple[str, str]:
    found = _LINE.fullmatch(line)
    if not found or "\0" in line:
        raise LineError(number)
    name, written = found.groups()
    if written.startswith('"'):
        value = _DOUBLE.fullmatch(written)
    else:
        value = (_SINGLE if written.startswith("'") else _PLAIN).fullmatch(written)
    if not value:
        raise LineError(number)
    text = value[1]
    if written.startswith('"'):
        text = _ESCAPED.sub(lambda match: _CONTROL.get(match[1], match[1]), text)
    return name, text
