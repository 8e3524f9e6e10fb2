"""The entries of the routes for load balancers and operators."""

from __future__ import annotations

from llmchat.description.operation import JSON, Answer, Operation, Schema
from llmchat.description.shapes import TEXT, list_of, record

_STATUS: Schema = record({"status": {"type": "string", "const": "ok"}})

OPERATIONS = {
    "GET /healthz": Operation(
        summary="Check that the process is running",
        tag="Server",
        is_open=True,
        is_plain=True,
        answers={
            200: Answer(
                "It is running",
                {JSON: _STATUS},
            )
        },
    ),
    "GET /readyz": Operation(
        summary="Check that the process is ready for requests",
        tag="Server",
        is_open=True,
        is_plain=True,
        answers={
            200: Answer("It is ready", {JSON: _STATUS}),
            503: Answer(
                "Not ready: `notReady` says why, and `code` is `not_ready`",
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
        summary="Read the metrics of the process, for Prometheus",
        tag="Server",
        details="Only for the addresses in `LLMCHAT_METRICS_ALLOW`, or with the token "
        "in `LLMCHAT_METRICS_TOKEN`.",
        is_open=True,
        is_plain=True,
        answers={
            200: Answer("The metrics", {"text/plain": TEXT}),
            404: Answer("This client is not allowed to read them", {"text/html": TEXT}),
        },
    ),
}
