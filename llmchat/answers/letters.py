"""The end of an answer as one worker sends it to another, without the text.

The other worker has the text already. All values are of types that msgpack supports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from llmchat.access.accounts import Notice
from llmchat.answers.events import Cancelled, Done, End, Failed, Started
from llmchat.books.extra import decoded, extra_of_answer
from llmchat.errors import ChatError
from llmchat.providers.types import ToolCall, Usage

Fields = dict[str, Any]
_NOTHING = Usage(0, 0, "estimated")


def pack_end(end: End) -> Fields:
    """Return an end as it is sent to another worker."""
    fields: Fields = {"cost": None if end.cost is None else str(end.cost)}
    if end.usage is not None:
        fields["usage"] = astuple(end.usage)
    if (notice := end.notice) is not None:
        fields["notice"] = [
            *(notice.period, notice.unit, str(notice.limit), str(notice.spent)),
            *(notice.renews_at.isoformat(), notice.of),
        ]
    match end:
        case Done():
            return fields | {
                "kind": "done",
                "provider": end.provider,
                "model": end.model,
                "finish": end.finish_reason,
                # As JSON, which can hold what UTF-8 cannot, such as lone surrogates.
                "calls": extra_of_answer(end.tool_calls),
            }
        case Cancelled():
            return fields | {"kind": "cancelled"}
        case Failed(error=error):
            return fields | {
                "kind": "failed",
                "error": [error.code, error.text, error.status, error.retry_after],
                "isPartial": bool(end.partial),
                "isPlaced": end.message_id is not None,
            }


def unpack_end(fields: Fields, started: Started, text: str) -> End:
    """Return the end that another worker has sent for an answer with this text."""
    end = _unpacked(fields, started, text)
    if (packed := fields.get("notice")) is None:
        return end
    period, unit, limit, spent, renews_at, of = packed
    moment = datetime.fromisoformat(renews_at)
    notice = Notice(period, unit, Decimal(limit), Decimal(spent), moment, of)
    return replace(end, notice=notice)


def _unpacked(fields: Fields, started: Started, text: str) -> End:
    usage = _usage_of(fields.get("usage"))
    cost = None if fields["cost"] is None else Decimal(fields["cost"])
    if fields["kind"] == "done":
        assert usage is not None
        return Done(
            started.session_id,
            fields["provider"],
            fields["model"],
            *started.place,
            text,
            fields["finish"],
            usage,
            calls_of(fields["calls"]),
            cost,
        )
    if fields["kind"] == "cancelled":
        return Cancelled(started.session_id, *started.place, text, usage, cost)
    code, words, status, retry_after = fields["error"]
    error = ChatError(code, words, status, retry_after=retry_after)
    partial = text if fields["isPartial"] else ""
    if not fields["isPlaced"]:
        return Failed(started.session_id, error, partial, usage=usage, cost=cost)
    return Failed(started.session_id, error, partial, *started.place, usage, cost)


def _usage_of(counts: Sequence[Any] | None) -> Usage | None:
    """Return the usage; a worker of another version may send more or fewer fields."""
    return Usage(*counts[: len(astuple(_NOTHING))]) if counts else None


def calls_of(extra: str) -> tuple[ToolCall, ...]:
    """Return the tool calls that are stored in this form."""
    return tuple(ToolCall(**call) for call in decoded(extra).get("toolCalls", ()))
