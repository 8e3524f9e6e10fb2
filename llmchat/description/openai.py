"""The entries of the OpenAI-compatible API, with the fields that it decides on itself.

OpenAI's own reference describes the others.
"""

from __future__ import annotations

from functools import partial

from llmchat.api.validation import MAX_OUTPUT_TOKENS, MAX_TEMPERATURE
from llmchat.description.chat import TURN_CODES
from llmchat.description.errors import PROVIDER_CODES
from llmchat.description.operation import EVENTS, JSON, Answer, Operation, Schema
from llmchat.description.shapes import SWITCH, TEXT, list_of, nullable, record, ref

_TURN_CODES = (*TURN_CODES, *PROVIDER_CODES)
_EVENT: Schema = {
    "type": "object",
    "description": "Events in the format of OpenAI's API",
    "properties": {"event": TEXT, "data": TEXT},
    "required": ["data"],
}
_MODEL: Schema = TEXT | {"description": "An `id` from `GET /v1/models`"}
_MOST: Schema = {
    "type": ["integer", "null"],
    "minimum": 1,
    "maximum": MAX_OUTPUT_TOKENS,
}
_SAMPLING: dict[str, Schema] = {
    "temperature": {
        "type": ["number", "null"],
        "minimum": 0,
        "maximum": MAX_TEMPERATURE,
    },
    "stream": nullable(SWITCH),
}


def _open(*names: str) -> Schema:
    """Return the schema of an object of OpenAI's that has at least these fields."""
    return {"type": "object", "required": list(names)}


SHAPES: dict[str, Schema] = {
    "OpenAIError": record(
        {
            "error": record(
                {
                    "message": TEXT,
                    "type": TEXT,
                    "param": nullable(TEXT),
                    "code": TEXT,
                }
            )
        }
    ),
    "OpenAIModel": record(
        {
            "id": TEXT,
            "object": TEXT,
            "created": {"type": "integer"},
            "owned_by": TEXT,
        }
    ),
    "CompletionRequest": record(
        {"model": _MODEL, "messages": list_of({"type": "object"})},
        {**_SAMPLING, "max_completion_tokens": _MOST, "max_tokens": _MOST},
    ),
    "ResponseRequest": record(
        {
            "model": _MODEL,
            "input": {"type": ["string", "array"], "items": {"type": "object"}},
        },
        {
            **_SAMPLING,
            "instructions": nullable(TEXT),
            "previous_response_id": nullable(TEXT),
            "max_output_tokens": _MOST,
        },
    ),
}
_operation = partial(Operation, tag="OpenAI API", error="OpenAIError")

OPERATIONS = {
    "POST /v1/chat/completions": _operation(
        summary="Create a chat completion (as in OpenAI's API)",
        body=ref("CompletionRequest"),
        example={
            "model": "openai",
            "messages": [{"role": "user", "content": "Hello!"}],
        },
        answers={
            200: Answer(
                "The whole completion, or a stream of events",
                {
                    JSON: _open("id", "object", "created", "model", "choices"),
                    EVENTS: _EVENT,
                },
            )
        },
        codes=_TURN_CODES,
    ),
    "POST /v1/responses": _operation(
        summary="Create a response (as in OpenAI's API)",
        body=ref("ResponseRequest"),
        example={"model": "openai", "input": "Hello!"},
        answers={
            200: Answer(
                "The whole response, or a stream of events",
                {JSON: _open("id", "object", "model", "output"), EVENTS: _EVENT},
            )
        },
        codes=_TURN_CODES,
    ),
    "GET /v1/models": _operation(
        summary="List the models that you may use",
        answers={
            200: Answer(
                "The models",
                {JSON: record({"object": TEXT, "data": list_of(ref("OpenAIModel"))})},
            )
        },
    ),
    "GET /v1/models/{model}": _operation(
        summary="Show a model",
        details="Its name may contain slashes.",
        answers={200: Answer("The model", {JSON: ref("OpenAIModel")})},
        codes=("model_not_found", "provider_not_found", "permission_denied"),
    ),
}
