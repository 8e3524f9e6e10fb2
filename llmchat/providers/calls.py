"""The tool calls of one answer, put together from their pieces.

A piece should name its call by an index, and the first piece of a call also by id and
name. Some servers leave out any of these, give all calls the same index, or send a call
whole. So a piece is added to the latest call that it can belong to.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field

from .errors import ProviderError
from .text import well_formed
from .types import ToolCall

MAX_CALLS = 128
MAX_CHARS = 1_000_000  # of all ids, names and arguments together
_MAX_TRIED_CHARS = 16_000
_CHARS_PER_TOKEN = 4


@dataclass(slots=True)
class _Parts:
    """A call so far; `default` holds its arguments if no piece of them comes.

    Each new piece may lead to a call of `is_whole`, which therefore must not take as
    long as reading all the pieces.
    """

    index: int | None
    id: str = ""
    name: str = ""
    default: str = ""
    pieces: list[str] = field(default_factory=list)
    chars: int = 0  # of the pieces
    is_closed: bool = False  # what they end with closes an object

    def append(self, piece: str) -> None:
        """Add a piece of the arguments."""
        self.pieces.append(piece)
        self.chars += len(piece)
        if end := piece.rstrip():
            self.is_closed = end.endswith("}")

    @property
    def arguments(self) -> str:
        """The arguments so far; their pieces are joined into one, and stay so."""
        self.pieces = ["".join(self.pieces)]
        return self.pieces[0] or self.default

    def is_whole(self) -> bool:
        """Whether the arguments are complete JSON; long ones are not tried."""
        if max(self.chars, len(self.default)) > _MAX_TRIED_CHARS:
            return False
        if self.chars and not self.is_closed:
            return False
        text = self.arguments
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return False
        return True


@dataclass(slots=True)
class CallParts:
    """The calls that an answer has begun; `chars` is how large they are together.

    Raises:
        ProviderError: they exceed the limits on their number or size.
    """

    calls: list[_Parts] = field(default_factory=list)
    chars: int = 0

    @property
    def tokens(self) -> int:
        """About how many tokens they are."""
        return -(-self.chars // _CHARS_PER_TOKEN)

    @property
    def count(self) -> int:
        """How many there are; also an index that none of them has yet."""
        return len(self.calls)

    def add(
        self,
        index: object = None,
        ident: object = None,
        name: object = None,
        arguments: object = None,
        *,
        default: object = None,
    ) -> None:
        """Add a piece, any part of which may be missing.

        `arguments` is the next part of a JSON text, or all arguments as an object;
        `default` is an object to use if no such part comes.
        """
        index = None if isinstance(index, bool) or not isinstance(index, int) else index
        ident, name = _text(ident), _text(name)
        piece, whole = _json(arguments), _json(default)
        if not (ident or name or piece or whole):
            return
        call = self._latest(index, ident)
        if call is None or (name and _is_other(call, index, ident, name, piece)):
            call = self._begin(index)
        call.id, call.name = call.id or ident, call.name or name
        call.default = call.default or whole
        if piece:
            call.append(piece)
        self._count(len(ident) + len(name) + len(piece) + len(whole))

    def go_on(self, index: object, arguments: object) -> None:
        """Add a piece of arguments if it belongs to a call that has begun."""
        if any(call.index == index for call in self.calls):
            self.add(index, arguments=arguments)

    def whole(self) -> tuple[ToolCall, ...]:
        """Return the calls; one without an id of its own is given one.

        Raises:
            ProviderError: one of them has no name.
        """
        calls: dict[str, ToolCall] = {}
        for parts in self.calls:
            ident, name = well_formed(parts.id), well_formed(parts.name)
            if not name.strip():
                raise ProviderError("a tool call without a name", retryable=True)
            if not ident or ident in calls:
                ident = f"call_{uuid.uuid4().hex[:24]}"
            arguments = well_formed(parts.arguments)
            calls[ident] = ToolCall(
                ident, name, arguments if arguments.strip() else "{}"
            )
        return tuple(calls.values())

    def _latest(self, index: int | None, ident: str) -> _Parts | None:
        """Return the call that a piece continues, unless it begins another."""
        if index is not None:
            same = [call for call in self.calls if call.index == index]
        else:
            same = [call for call in self.calls if ident and call.id == ident]
            same = same or self.calls
        return same[-1] if same else None

    def _begin(self, index: int | None) -> _Parts:
        if len(self.calls) >= MAX_CALLS:
            raise ProviderError("more tool calls than the limit")
        self.calls.append(_Parts(index))
        return self.calls[-1]

    def _count(self, chars: int) -> None:
        self.chars += chars
        if self.chars > MAX_CHARS:
            raise ProviderError("tool calls larger than the limit")


def _is_other(
    call: _Parts, index: int | None, ident: str, name: str, piece: str
) -> bool:
    """Whether a piece that has a name begins another call than `call`."""
    if ident and call.id:
        return ident != call.id
    if index is not None or not call.name:
        return False
    return name != call.name or (bool(piece) and call.is_whole())


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _json(value: object) -> str:
    """Return a JSON text as it is, and an object as JSON text."""
    if not isinstance(value, dict):
        return _text(value)
    try:
        return json.dumps(value) if value else ""
    except RecursionError as exc:
        raise ProviderError("a tool call nested too deeply") from exc
