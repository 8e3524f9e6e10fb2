"""Queries of messages neither join nor sort unless asked to."""

from __future__ import annotations

import pytest

from llmchat.models import Message, RunningStream


@pytest.mark.parametrize("model", [Message, RunningStream])
def test_messages_are_joined_and_sorted_only_where_a_query_says_so(
    model: type[Message],
) -> None:
    for rows in (model.objects.all(), model.objects.filter(state="streaming")):
        assert not rows.ordered
        assert "JOIN" not in str(rows.query)


def test_a_running_stream_is_named_without_its_text() -> None:
    stream = RunningStream(role="assistant", content="a private answer")
    assert str(stream) == f"Answer {stream.pk}"
