"""What was used by answers that were deleted since, with their users or without."""

from __future__ import annotations

from datetime import date
from typing import Any

from llmchat.models import PastUse


def rows(since: date) -> list[dict[str, Any]]:
    """Return the sums of each day, provider and model, from that day on."""
    fields = ("day", "provider", "model", "answers", "failures")
    found = PastUse.objects.filter(day__gte=since).order_by("day", "provider", "model")
    return [
        {
            **dict(zip(fields, row, strict=False)),
            "tokens_in": row[5],
            "tokens_out": row[6],
            "dollars": row[7],
        }
        for row in found.values_list(*fields, "input_tokens", "output_tokens", "cost")
    ]
