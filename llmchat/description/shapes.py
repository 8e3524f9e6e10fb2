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
    "description": "In US dollars, as a decimal number; null if the cost is not known",
    "examples": ["0.00042"],
}
TITLE: Final[Schema] = {"type": "string", "maxLength": TITLE_LENGTH}
CURSOR: Final[Schema] = {
    "type": ["string", "null"],
    "description": "The `cursor` of the next page; null on the last page",
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
_CACHE_WRITE = _said(
    NUMBER, "Written to the provider's cache, included in `inputTokens`"
)
_PLACE: dict[str, Schema] = {
    "conversationId": ID,
    "messageId": _said(ID, "The answer"),
    "questionId": _said(ID, "The question; send it as `replaces` to ask again"),
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
    "error": _said(TEXT, "A message for people; its wording may change"),
    "code": _said(TEXT, "For programs; it does not change"),
}
_USER: dict[str, Schema] = {
    "id": {"type": "integer"},
    "username": TEXT,
    "email": _said(TEXT, "Empty if there is none"),
    "isStaff": SWITCH,
}
_TOKEN_PAIR: dict[str, Schema] = {
    "access": _said(TEXT, "For `Authorization: Bearer …`"),
    "refresh": _said(TEXT, "Works once: it gets you the next pair"),
}
_NOTICE: dict[str, Schema] = {"budgetNotice": ref("BudgetNotice")}
_RETRY: Schema = _said(NUMBER, "Seconds to wait, if it helps to try again")

# The fields of `POST /llm/chat`; a test compares them with those that are validated.
CHAT_FIELDS: dict[str, Schema] = {
    "sessionId": nullable(
        _said(_NAME, "Identifies the stream; a new value for each answer, or none")
    ),
    "provider": _said(TEXT, "A `name` from `GET /llm/providers`"),
    "messages": {
        "type": "array",
        "description": "The whole history; the last message must be from `user`",
        "items": ref("ChatMessage"),
        "minItems": 1,
        "maxItems": validation.MAX_MESSAGES,
    },
    "model": nullable(_said(_NAME, "A model to use instead of the provider's default")),
    "temperature": {
        "type": ["number", "null"],
        "minimum": 0,
        "maximum": validation.MAX_TEMPERATURE,
    },
    "maxTokens": nullable(
        _said(_TOKENS, "The maximum length of the answer, in tokens")
    ),
    "max_tokens": nullable(_said(_TOKENS, "The same as `maxTokens`")),
    "conversationId": nullable(
        _said(ID, "The conversation to continue; without it, the history decides")
    ),
    "replaces": nullable(
        _said(
            ID,
            "The id of a question in the conversation that `conversationId` names: "
            "the last message replaces that question and everything after it",
        )
    ),
    "stream": _said(SWITCH, "Send server-sent events instead of one JSON object"),
}

SHAPES: dict[str, Schema] = {
    "Error": record(
        _ERROR,
        {
            "retryAfter": _RETRY,
            "sessionId": nullable(TEXT),
            "partialResponse": _said(
                TEXT, "The text that was written before the error"
            ),
            **_PLACE,
            "timestamp": TIMESTAMP,
        },
    ),
    "ChatMessage": record(
        {
            "role": {"type": "string", "enum": list(validation.ROLES)},
            "content": _said(TEXT, "Can be empty only if the role is `assistant`"),
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
            "model": _said(TEXT, "The default: used if a request names no model"),
            "models": list_of(ref("Model")),
            "allowedModels": _said(
                list_of(TEXT), "Patterns of the models that you may use"
            ),
            "configured": _said(SWITCH, "Whether it has an API key and an address"),
            "usable": _said(SWITCH, "Whether it can answer now"),
        },
        {
            "error": _said(TEXT, "Why it cannot answer now"),
            "code": TEXT,
            "adminUrl": _said(TEXT, "For staff: the path of the admin page to fix it"),
        },
    ),
    "Model": record(
        {
            "name": _said(TEXT, "Send it as `model` in a request"),
            "label": _said(TEXT, "The name to show to people"),
            "contextTokens": nullable(_said(NUMBER, "null if not known")),
            "maxOutputTokens": nullable(_said(NUMBER, "null if not known")),
            "abilities": nullable(
                {
                    "type": "array",
                    "items": {
                        "type": "string",
                        "enum": ["images", "tools", "reasoning"],
                    },
                    "description": "null if not known",
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
            "durationMs": nullable(
                _said(NUMBER, "How long the answer took, in milliseconds")
            ),
            "provider": nullable(TEXT),
            "model": nullable(TEXT),
            "answeredBy": nullable(
                _said(TEXT, "The model that answered, according to the provider")
            ),
            "fingerprint": nullable(
                _said(TEXT, "The provider's fingerprint of the system that answered")
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
            "toolCallId": _said(
                TEXT, "The tool call that this message is the result of"
            ),
            "replaced": _said(
                SWITCH, "Only in `GET /llm/export`: whether another message replaced it"
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
            "sha256": _said(TEXT, "The hash of the image data, which is not stored"),
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
