"""Why an answer is not whole, in words."""

from __future__ import annotations

from typing import Any

import pytest

from llmchat.models import Message
from llmchat.reports.outcomes import why


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"state": "complete", "finish_reason": "stop"}, ""),
        (
            {"state": "complete", "finish_reason": "length"},
            "The answer reached the token limit.",
        ),
        (
            {"state": "complete", "finish_reason": "length", "output_tokens": 4096},
            "The answer reached the token limit after 4,096 output tokens.",
        ),
        (
            {"state": "complete", "finish_reason": "content_filter"},
            "The provider's content filter stopped the answer.",
        ),
        (
            {"state": "interrupted", "error_detail": "Its worker is gone."},
            "Its worker is gone.",
        ),
        ({"state": "error", "error_detail": "401 invalid key"}, "401 invalid key"),
        ({"state": "cancelled", "finish_reason": "length"}, ""),
        ({"state": "streaming"}, ""),
    ],
)
def test_why_an_answer_is_not_whole(fields: dict[str, Any], told: str) -> None:
    assert why(Message(role="assistant", **fields)) == told
