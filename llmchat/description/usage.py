"""The entries of the routes for usage, and for all that is stored about a user."""

from __future__ import annotations

from llmchat.description.operation import JSON, Answer, Operation, Parameter, Schema
from llmchat.description.shapes import (
    COST,
    MOMENT,
    NUMBER,
    SHAPES,
    TEXT,
    list_of,
    nullable,
    record,
    ref,
)
from llmchat.models import Budget

_TAG = "Usage"
_DATE: Schema = {"type": "string", "format": "date"}
# A date, or an empty string for the default.
_DAY: Schema = {"type": "string", "pattern": "^([0-9]{4}-[0-9]{2}-[0-9]{2})?$"}
_ETAG = {"ETag": "Send it as `If-None-Match` next time"}

SHAPES |= {
    "DayOfUse": record(
        {
            "date": _DATE,
            "provider": TEXT,
            "answers": NUMBER,
            "inputTokens": NUMBER,
            "outputTokens": NUMBER,
            "cost": COST,
            "unpriced": NUMBER
            | {"description": "How many of the answers have no known cost"},
        }
    ),
    "BudgetLeft": record(
        {
            "period": {"type": "string", "enum": list(Budget.Period.values)},
            "unit": {"type": "string", "enum": list(Budget.Unit.values)},
            "limit": TEXT,
            "spent": TEXT,
            "reserved": TEXT,
            "left": TEXT,
            "renewsAt": MOMENT,
            "of": {"type": "string", "enum": ["user", "group", "key"]},
            "noticePercent": NUMBER,
            "notice": {"type": "boolean"},
        }
    ),
    "StoredAccount": record(
        {
            "id": {"type": "integer"},
            "username": TEXT,
            "email": TEXT,
            "firstName": TEXT,
            "lastName": TEXT,
            "isStaff": {"type": "boolean"},
            "joinedAt": MOMENT,
            "lastLoginAt": nullable(MOMENT),
            "groups": list_of(TEXT),
        }
    ),
}
_LISTS: dict[str, Schema] = {"budgets": list_of(ref("BudgetLeft"))}

OPERATIONS = {
    "GET /llm/usage": Operation(
        summary="Show what you have used and what is left of your budgets",
        tag=_TAG,
        details="By day (UTC) and provider; without `from` and `to`, the last 30 days.",
        parameters=(
            Parameter("from", "The first day", _DAY),
            Parameter("to", "The last day", _DAY),
            Parameter(
                "If-None-Match",
                "The `ETag` of the copy that you have",
                TEXT,
                place="header",
            ),
        ),
        answers={
            200: Answer(
                "The usage and the budgets",
                {JSON: record({"results": list_of(ref("DayOfUse")), **_LISTS})},
                _ETAG,
            ),
            304: Answer("Not changed since that `ETag`", {}),
        },
    ),
    "GET /llm/export": Operation(
        summary="Download everything that is stored about you",
        tag=_TAG,
        answers={
            200: Answer(
                "The file",
                {
                    JSON: record(
                        {
                            "user": ref("StoredAccount"),
                            "usage": list_of(ref("DayOfUse")),
                            "apiKeys": list_of(ref("ApiKey")),
                            **_LISTS,
                            "conversations": list_of(ref("ExportedConversation")),
                        }
                    )
                },
                {"Content-Disposition": "Suggests a name for the file"},
            )
        },
        codes=("rate_limited",),
    ),
}
