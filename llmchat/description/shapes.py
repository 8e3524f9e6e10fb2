"""The objects in requests and responses, by the names that OpenAPI gives them."""

from __future__ import annotations

from typing import Any, Final

from llmchat.api import validation
from llmchat.books.conversations import TITLE_LENGTH
from llmchat.description.operation import Schema
from llmchat.models import Message
from llmchat.providers.types import FinishReason

TEXT: Final[Schema] = {"type": "string"}
NUMBER: Final[Schema] = {"type": "integer", "minimum": 0}
SWITCH: Final[Schema] = {"type": "boolean"}
ID: Final[Schema] = {"type": "string", "format": "uuid"}
MOMENT: Final[Schema] = {"type": "string", "format": "date-time"}
TIMESTAMP: Final[Schema] = {
    "type": "integer",
    "description": "Milliseconds since the Unix epoch",
}
COST: Final[Schema] = {
    "type": ["string", "null"],
    "description": "US dollars, as a decimal number; null without a known cost",
    "examples": ["0.00042"],
}
TITLE: Final[Schema] = {"type": "string", "maxLength": TITLE_LENGTH}
CURSOR: Final[Schema] = {
    "type": ["string", "null"],
    "description": "`cursor` of the next page, null behind the last",
}


def ref(name: str) -> Schema:
    """Return a reference to one of `SHAPES`."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(fields: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Any:
    """Return the schema of an object that always has `fields`."""
    return {
        "type": "object",
        "properties": fields | (optional or {}),
        "required": list(fields),
    }


def list_of(item: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": item}


def nullable(schema: Schema) -> Schema:
    """Return the same schema, but with null allowed."""
    if "$ref" in schema:
        return {"oneOf": [schema, {"type": "null"}]}
    found = schema | {"type": [schema["type"], "null"]}
    return found | {"enum": [*schema["enum"], None]} if "enum" in schema else found


def _said(schema: Schema, description: str) -> Schema:
    return schema | {"description": description}


_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": validation.NAME_LENGTH}
_TOKENS: Schema = {
    "type": "integer",
    "minimum": 1,
    "maximum": validation.MAX_OUTPUT_TOKENS,
}
_REASON: Schema = {
    "type": "string",
    "enum": [reason.value for reason in FinishReason],
}
_SOURCE: Schema = {"type": "string", "enum": ["provider", "estimated"]}
_REASONING = _said(NUMBER, "Included in `outputTokens`")
_CACHE_READ = _said(NUMBER, "Read from the provider's cache, included in `inputTokens`")
_CACHE_WRITE = _said(NUMBER, "Written to that cache, included in `inputTokens`")
_PLACE: dict[str, Schema] = {
    "conversationId": ID,
    "messageId": _said(ID, "The answer"),
    "questionId": _said(ID, "The message that it answers; `replaces` takes it"),
}
_BEGUN: dict[str, Schema] = {
    "sessionId": TEXT,
    "provider": TEXT,
    "model": TEXT,
    **_PLACE,
}
_CONVERSATION: dict[str, Schema] = {
    "id": ID,
    "title": TEXT,
    "provider": TEXT,
    "model": TEXT,
    "state": nullable({"type": "string", "enum": list(Message.State.values)}),
    "createdAt": MOMENT,
    "updatedAt": MOMENT,
    "messageCount": NUMBER,
    "usage": record({"inputTokens": NUMBER, "outputTokens": NUMBER}),
    "cost": COST,
}
_ERROR: dict[str, Schema] = {
    "error": _said(TEXT, "One sentence for a person; it may be reworded"),
    "code": _said(TEXT, "For a program; it stays"),
}
_USER: dict[str, Schema] = {
    "id": {"type": "integer"},
    "username": TEXT,
    "email": _said(TEXT, "Empty without one"),
    "isStaff": SWITCH,
}
_TOKEN_PAIR: dict[str, Schema] = {
    "access": _said(TEXT, "For `Authorization: Bearer …`"),
    "refresh": _said(TEXT, "Works once, for the next pair"),
}
_NOTICE: dict[str, Schema] = {"budgetNotice": ref("BudgetNotice")}
_RETRY: Schema = _said(NUMBER, "Seconds to wait, where waiting helps")

# The fields of `POST /llm/chat`; a test compares them with those that are validated.
CHAT_FIELDS: dict[str, Schema] = {
    "sessionId": nullable(
        _said(_NAME, "Names the stream; a new one for each answer, or none")
    ),
    "provider": _said(TEXT, "A `name` of `GET /llm/providers`"),
    "messages": {
        "type": "array",
        "description": "The whole history, the newest message, from `user`, last",
        "items": ref("ChatMessage"),
        "minItems": 1,
        "maxItems": validation.MAX_MESSAGES,
    },
    "model": nullable(_said(_NAME, "Another model than the provider's default")),
    "temperature": {
        "type": ["number", "null"],
        "minimum": 0,
        "maximum": validation.MAX_TEMPERATURE,
    },
    "maxTokens": nullable(_said(_TOKENS, "The longest answer, in tokens")),
    "max_tokens": nullable(_said(_TOKENS, "The same as `maxTokens`")),
    "conversationId": nullable(_said(ID, "The conversation, instead of its history")),
    "replaces": nullable(
        _said(
            ID,
            "A question of the conversation that `conversationId` names: the newest "
            "message takes its place, and that of all behind it",
        )
    ),
    "stream": _said(SWITCH, "Server-sent events instead of one object"),
}

SHAPES: dict[str, Schema] = {
    "Error": record(
        _ERROR,
        {
            "retryAfter": _RETRY,
            "sessionId": nullable(TEXT),
            "partialResponse": _said(TEXT, "The text that was written before it"),
            **_PLACE,
            "timestamp": TIMESTAMP,
        },
    ),
    "ChatMessage": record(
        {
            "role": {"type": "string", "enum": list(validation.ROLES)},
            "content": _said(TEXT, "May be empty in an answer alone"),
        }
    ),
    "ChatRequest": {
        "type": "object",
        "properties": CHAT_FIELDS,
        "required": [n for n, f in validation.CHAT_FIELDS.items() if f.is_required],
    },
    "StreamStart": record({**_BEGUN, "timestamp": TIMESTAMP}),
    "StreamToken": record({"sessionId": TEXT, "token": TEXT, "timestamp": TIMESTAMP}),
    "StreamDone": record(
        {
            **_BEGUN,
            "fullResponse": TEXT,
            "tokenCount": NUMBER,
            "finishReason": _REASON,
            "usage": record(
                {
                    "inputTokens": nullable(NUMBER),
                    "outputTokens": NUMBER,
                    "reasoningTokens": _REASONING,
                    "cacheReadTokens": _CACHE_READ,
                    "cacheWriteTokens": _CACHE_WRITE,
                    "source": _SOURCE,
                }
            ),
            "timestamp": TIMESTAMP,
        },
        {"toolCalls": list_of(ref("ToolCall")), **_NOTICE},
    ),
    "StreamError": record(
        {"sessionId": nullable(TEXT), **_ERROR, "timestamp": TIMESTAMP},
        {"retryAfter": _RETRY, "partialResponse": TEXT, **_PLACE, **_NOTICE},
    ),
    "StreamCancelled": record(
        {"sessionId": TEXT, **_PLACE, "partialResponse": TEXT, "timestamp": TIMESTAMP},
        _NOTICE,
    ),
    "BudgetNotice": record(
        {
            "period": TEXT,
            "unit": TEXT,
            "limit": TEXT,
            "spent": TEXT,
            "percent": NUMBER,
            "renewsAt": MOMENT,
            "of": TEXT,
        }
    ),
    "RunningStream": record(_BEGUN),
    "Cancelled": record({"ok": {"type": "boolean", "const": True}, **_PLACE}),
    "Provider": record(
        {
            "name": TEXT,
            "label": TEXT,
            "model": _said(TEXT, "What answers if a request names no model"),
            "models": list_of(ref("Model")),
            "allowedModels": _said(list_of(TEXT), "Patterns of the models allowed"),
            "configured": _said(SWITCH, "Whether it has a key and an address"),
            "usable": _said(SWITCH, "Whether it can answer now"),
        },
        {
            "error": _said(TEXT, "Why it is not usable"),
            "code": TEXT,
            "adminUrl": _said(TEXT, "Where you may change that; a path, for staff"),
        },
    ),
    "Model": record(
        {
            "name": _said(TEXT, "For `model` of a request"),
            "label": _said(TEXT, "For people"),
            "contextTokens": nullable(_said(NUMBER, "null: not known")),
            "maxOutputTokens": nullable(_said(NUMBER, "null: not known")),
            "abilities": nullable(
                {
                    "type": "array",
                    "items": {
                        "type": "string",
                        "enum": ["images", "tools", "reasoning"],
                    },
                    "description": "null: not known",
                }
            ),
            "priced": _said(SWITCH, "Whether the cost of its answers is known"),
        }
    ),
    "Conversation": record(_CONVERSATION),
    "Message": record(
        {
            "id": ID,
            "role": {"type": "string", "enum": list(Message.Role.values)},
            "content": TEXT,
            "state": {"type": "string", "enum": list(Message.State.values)},
            "createdAt": MOMENT,
            "durationMs": nullable(_said(NUMBER, "How long an answer took in all")),
            "provider": nullable(TEXT),
            "model": nullable(TEXT),
            "answeredBy": nullable(
                _said(TEXT, "The model that the provider says has answered")
            ),
            "fingerprint": nullable(
                _said(TEXT, "The provider's, of what it runs behind that name")
            ),
            "finishReason": nullable(_REASON),
            "code": nullable(_said(TEXT, "The error code of an answer that failed")),
            "usage": nullable(ref("MessageUsage")),
            "cost": COST,
        },
        {
            "images": list_of(ref("MessageImage")),
            "toolCalls": list_of(
                record(dict.fromkeys(("id", "name", "arguments"), TEXT))
            ),
            "toolCallId": _said(TEXT, "The call that the message is the result of"),
            "replaced": _said(
                SWITCH, "In the account's export: whether another took its place"
            ),
        },
    ),
    "ToolCall": record(dict.fromkeys(("id", "name", "arguments"), TEXT)),
    "MessageImage": record(
        {},
        {
            "url": TEXT,
            "mediaType": TEXT,
            "bytes": NUMBER,
            "sha256": _said(TEXT, "Of the data, which is not stored"),
        },
    ),
    "MessageUsage": record(
        {
            "inputTokens": nullable(NUMBER),
            "outputTokens": nullable(NUMBER),
            "reasoningTokens": nullable(_REASONING),
            "cacheReadTokens": nullable(_CACHE_READ),
            "cacheWriteTokens": nullable(_CACHE_WRITE),
            "source": TEXT,
        }
    ),
    "ConversationPage": record(
        {"results": list_of(ref("Conversation")), "cursor": CURSOR}
    ),
    "ConversationWithMessages": record(
        {**_CONVERSATION, "messages": list_of(ref("Message")), "cursor": CURSOR}
    ),
    "ExportedConversation": record(
        {**_CONVERSATION, "messages": list_of(ref("Message"))}
    ),
    "User": record(_USER),
    "Tokens": record(_TOKEN_PAIR),
    "UserWithTokens": record(_USER | _TOKEN_PAIR),
    "Nothing": record({}),
}
