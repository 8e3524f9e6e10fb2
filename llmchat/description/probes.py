"""The entries of what load balancers and operators ask."""

from __future__ import annotations

from llmchat.description.operation import JSON, Answer, Operation
from llmchat.description.shapes import record

OPERATIONS = {
    "GET /healthz": Operation(
        summary="Say whether the process serves",
        tag="Server",
        is_open=True,
        is_plain=True,
        answers={
            200: Answer(
                "It does",
                {JSON: record({"status": {"type": "string", "const": "ok"}})},
            )
        },
    ),
}
