"""The entries of a user's API keys."""

from __future__ import annotations

from accounts.models import ApiKey
from accounts.verified import Scope
from llmchat.api.key_fields import MOST_PER_MINUTE, NAME_LENGTH
from llmchat.description.operation import JSON, Answer, Operation, Schema
from llmchat.description.shapes import MOMENT, TEXT, list_of, nullable, record, ref
from llmchat.models import Budget

_TAG = "API keys"
_PER_MINUTE: Schema = {"type": "integer", "minimum": 1, "maximum": MOST_PER_MINUTE}
_SCOPES: Schema = list_of({"type": "string", "enum": list(Scope.values)})
_PERIOD: Schema = {"type": "string", "enum": list(Budget.Period.values)}
_UNIT: Schema = {"type": "string", "enum": list(Budget.Unit.values)}
_AMOUNT: Schema = {
    "type": ["number", "string"],
    "description": "0 or more, with at most 6 decimal places",
}
_KEY: dict[str, Schema] = {
    "id": {"type": "integer"},
    "name": TEXT,
    "prefix": TEXT,
    "scopes": _SCOPES,
    "state": {"type": "string", "enum": list(ApiKey.State.values)},
    "messagesPerMinute": nullable(_PER_MINUTE),
    "budgets": list_of(ref("KeyBudget")),
    "createdAt": MOMENT,
    "expiresAt": nullable(MOMENT),
    "lastUsedAt": nullable(MOMENT),
    "revokedAt": nullable(MOMENT),
}

SHAPES: dict[str, Schema] = {
    "ApiKey": record(_KEY),
    "NewApiKey": record(
        {**_KEY, "key": TEXT | {"description": "`llmc_…`; shown only this once"}}
    ),
    "KeyBudget": record(
        {
            "period": _PERIOD,
            "unit": _UNIT,
            "limit": TEXT,
            "spent": TEXT,
            "renewsAt": MOMENT,
        }
    ),
    "ApiKeyRequest": record(
        {
            "name": {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH},
            "scopes": _SCOPES | {"minItems": 1},
        },
        {
            "expiresAt": nullable(
                MOMENT | {"description": "A time in the future, with its time zone"}
            ),
            "messagesPerMinute": nullable(_PER_MINUTE),
            "budgets": {
                "type": ["array", "null"],
                "items": record({"period": _PERIOD, "unit": _UNIT, "limit": _AMOUNT}),
                "description": "At most one for each period and unit",
            },
        },
    ),
}
OPERATIONS = {
    "GET /auth/keys": Operation(
        summary="List your API keys",
        tag=_TAG,
        details="The newest first, including expired and revoked keys.",
        answers={
            200: Answer("The keys", {JSON: record({"keys": list_of(ref("ApiKey"))})})
        },
    ),
    "POST /auth/keys": Operation(
        summary="Create an API key",
        tag=_TAG,
        details="Needs an access token: an API key cannot create another one.",
        body=ref("ApiKeyRequest"),
        example={"name": "My script", "scopes": ["chat", "read"]},
        answers={201: Answer("The key", {JSON: ref("NewApiKey")})},
        codes=("too_many_keys", "rate_limited"),
    ),
    "DELETE /auth/keys/{keyId}": Operation(
        summary="Revoke an API key",
        tag=_TAG,
        answers={204: Answer("Revoked", {})},
        codes=("key_not_found",),
    ),
}
