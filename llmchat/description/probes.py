"""The entries of the routes for load balancers and operators."""

from __future__ import annotations

from llmchat.description.operation import JSON, Answer, Operation, Schema
from llmchat.description.shapes import TEXT, list_of, record

_STATUS: Schema = record({"status": {"type": "string", "const": "ok"}})

OPERATIONS = {
    "GET /healthz": Operation(
        summary="Say whether the process serves",
        tag="Server",
        is_open=True,
        is_plain=True,
        answers={
            200: Answer(
                "It does",
                {JSON: _STATUS},
            )
        },
    ),
    "GET /readyz": Operation(
        summary="Say whether the process should be sent requests",
        tag="Server",
        is_open=True,
        is_plain=True,
        answers={
            200: Answer("It should", {JSON: _STATUS}),
            503: Answer(
                "It should not: `notReady` says why, `not_ready` is the code",
                {
                    JSON: record(
                        {"error": TEXT, "code": TEXT, "notReady": list_of(TEXT)}
                    )
                },
            ),
        },
        codes=("not_ready",),
    ),
    "GET /metrics": Operation(
        summary="Tell Prometheus what the process counts of itself",
        tag="Server",
        details="For addresses and the token that settings of the server name.",
        is_open=True,
        is_plain=True,
        answers={
            200: Answer("The metrics", {"text/plain": TEXT}),
            404: Answer("Not for whoever asks", {"text/html": TEXT}),
        },
    ),
}
