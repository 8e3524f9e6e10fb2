"""A bug of our own in an adapter, seen from the use case."""

from __future__ import annotations

import logging

import pytest

from llmchat.answers.events import Failed
from llmchat.providers import openai
from tests.support.chat_fixtures import end_of


@pytest.mark.parametrize("bug", [RuntimeError("ours"), OSError("ours")], ids=repr)
async def test_it_costs_one_request_and_leaves_a_traceback(
    user, provider, upstream, turn, monkeypatch, caplog, bug
):
    def parse(*_: object) -> str:
        raise bug

    monkeypatch.setattr(openai, "parse", parse)
    with caplog.at_level(logging.ERROR):
        end = await end_of(user, turn("Hi"))
    assert isinstance(end, Failed)
    assert end.error.code == "internal_error"
    assert len(upstream.requests) == 1
    traced = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert traced == [bug]
