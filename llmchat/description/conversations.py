"""The entries of a user's conversations."""

from __future__ import annotations

from llmchat.description.operation import JSON, Answer, Operation, Parameter, Schema
from llmchat.description.shapes import TEXT, TITLE, record, ref
from llmchat.reports import own

_TAG = "Conversations"
_NOT_FOUND = "conversation_not_found"
_CURSOR = Parameter("cursor", "The `cursor` of the previous page", TEXT)
_KNOWN = Parameter(
    "If-None-Match", "The `ETag` of the copy that you have", TEXT, place="header"
)
_ETAG = {"ETag": "Send it as `If-None-Match` next time"}
_FILE = {"Content-Disposition": "Suggests a name for the file"}
_UNCHANGED = Answer("Not changed since that `ETag`", {})


def _limit(default: int, most: int) -> Parameter:
    schema: Schema = {
        "type": "integer",
        "minimum": 1,
        "maximum": most,
        "default": default,
    }
    return Parameter("limit", "The maximum number of results", schema)


OPERATIONS = {
    "GET /llm/conversations": Operation(
        summary="List your conversations",
        tag=_TAG,
        details="The most recent first.",
        parameters=(
            Parameter("search", "Only conversations that contain these words", TEXT),
            _CURSOR,
            _limit(own.PAGE, own.MOST_CONVERSATIONS),
            _KNOWN,
        ),
        answers={
            200: Answer(
                "A page of conversations", {JSON: ref("ConversationPage")}, _ETAG
            ),
            304: _UNCHANGED,
        },
    ),
    "POST /llm/conversations": Operation(
        summary="Create an empty conversation",
        tag=_TAG,
        details="Send its `id` as `conversationId` with a question. If you give no "
        "title, the first question becomes the title.",
        body=record({}, {"title": TITLE}),
        needs_body=False,
        example={"title": "Plans"},
        answers={201: Answer("The conversation", {JSON: ref("Conversation")})},
        codes=("rate_limited",),
    ),
    "GET /llm/conversations/{conversationId}": Operation(
        summary="Read a conversation",
        tag=_TAG,
        details="With its messages, the oldest first.",
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
        details="Deletes its messages too, and stops an answer that is being written.",
        answers={204: Answer("Deleted", {})},
        codes=(_NOT_FOUND,),
    ),
    "GET /llm/conversations/{conversationId}/export.json": Operation(
        summary="Download a conversation as JSON",
        tag=_TAG,
        answers={
            200: Answer("The file", {JSON: ref("ExportedConversation")}, _FILE),
        },
        codes=(_NOT_FOUND,),
    ),
    "GET /llm/conversations/{conversationId}/export.md": Operation(
        summary="Download a conversation as Markdown",
        tag=_TAG,
        answers={200: Answer("The file", {"text/markdown": TEXT}, _FILE)},
        codes=(_NOT_FOUND,),
    ),
}
