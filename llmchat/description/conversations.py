"""The entries of a user's conversations."""

from __future__ import annotations

from llmchat.description.operation import JSON, Answer, Operation, Parameter, Schema
from llmchat.description.shapes import TEXT, TITLE, record, ref
from llmchat.reports import own

_TAG = "Conversations"
_NOT_FOUND = "conversation_not_found"
_CURSOR = Parameter("cursor", "`cursor` of the page before", TEXT)
_KNOWN = Parameter("If-None-Match", "The `ETag` of what you have", TEXT, place="header")
_ETAG = {"ETag": "What `If-None-Match` takes"}
_FILE = {"Content-Disposition": "The name of the file"}
_UNCHANGED = Answer("It has not changed", {})


def _limit(default: int, most: int) -> Parameter:
    schema: Schema = {
        "type": "integer",
        "minimum": 1,
        "maximum": most,
        "default": default,
    }
    return Parameter("limit", "How many at most", schema)


OPERATIONS = {
    "GET /llm/conversations": Operation(
        summary="List your conversations",
        tag=_TAG,
        details="The latest first.",
        parameters=(
            Parameter("search", "Only those with these words", TEXT),
            _CURSOR,
            _limit(own.PAGE, own.MOST_CONVERSATIONS),
            _KNOWN,
        ),
        answers={
            200: Answer("A page of them", {JSON: ref("ConversationPage")}, _ETAG),
            304: _UNCHANGED,
        },
    ),
    "POST /llm/conversations": Operation(
        summary="Create an empty conversation",
        tag=_TAG,
        details="Name its `id` as `conversationId` in a turn. Without a title it is "
        "named by its first question.",
        body=record({}, {"title": TITLE}),
        needs_body=False,
        example={"title": "Plans"},
        answers={201: Answer("The conversation", {JSON: ref("Conversation")})},
        codes=("rate_limited",),
    ),
    "GET /llm/conversations/{conversationId}": Operation(
        summary="Read a conversation",
        tag=_TAG,
        details="With its messages, the first one first.",
        parameters=(_CURSOR, _limit(own.MOST_MESSAGES, own.MOST_MESSAGES), _KNOWN),
        answers={
            200: Answer(
                "The conversation", {JSON: ref("ConversationWithMessages")}, _ETAG
            ),
            304: _UNCHANGED,
        },
        codes=(_NOT_FOUND,),
    ),
    "PATCH /llm/conversations/{conversationId}": Operation(
        summary="Rename a conversation",
        tag=_TAG,
        body=record({"title": TITLE}),
        example={"title": "Plans"},
        answers={200: Answer("The conversation", {JSON: ref("Conversation")})},
        codes=(_NOT_FOUND,),
    ),
    "DELETE /llm/conversations/{conversationId}": Operation(
        summary="Delete a conversation",
        tag=_TAG,
        details="With its messages; an answer that is being written is stopped.",
        answers={204: Answer("It is deleted", {})},
        codes=(_NOT_FOUND,),
    ),
    "GET /llm/conversations/{conversationId}/export.json": Operation(
        summary="Download a conversation",
        tag=_TAG,
        answers={
            200: Answer("A file", {JSON: ref("ExportedConversation")}, _FILE),
        },
        codes=(_NOT_FOUND,),
    ),
    "GET /llm/conversations/{conversationId}/export.md": Operation(
        summary="Download a conversation as Markdown",
        tag=_TAG,
        answers={200: Answer("A file", {"text/markdown": TEXT}, _FILE)},
        codes=(_NOT_FOUND,),
    ),
}
