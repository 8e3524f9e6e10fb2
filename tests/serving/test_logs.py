"""What is kept out of the log, and what its lines say."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import AsyncClient, Client

from accounts.models import User
from accounts.tokens import issue_tokens
from llmchat import log_fields
from llmchat.answers import checkpoints
from llmchat.answers.events import Failed
from llmchat.books.turn import Turn
from llmchat.database import in_database
from llmchat.models import Provider
from serving.http_protocol import Reason
from serving.logs import JsonLines, PeersFault
from tests.support.chat_fixtures import broken_database, end_of, until
from tests.support.streaming import streaming
from tests.support.upstream import Upstream


def record(text: str, exc: Exception | None = None) -> logging.LogRecord:
    info = (type(exc), exc, None) if exc else None
    return logging.LogRecord("uvicorn.error", 40, "x.py", 1, text, (), info)


def test_of_each_kind_one_line_a_minute_passes() -> None:
    now = 0.0
    log = PeersFault(clock=lambda: now)
    kinds = ["opening handshake failed", "Invalid HTTP request received."]

    first = [log.filter(record(kind)) for kind in kinds for _ in range(50)]
    now = 60.0
    later = record(kinds[0], ValueError("sk-secret"))

    assert first.count(True) == 2
    assert log.filter(later)
    assert later.getMessage() == (
        "opening handshake failed (ValueError) (49 more since the last such line)"
    )
    assert later.exc_info is None
    assert later.levelname == "WARNING"


@pytest.mark.parametrize("reason", list(Reason))
def test_each_reason_for_which_a_request_is_refused_is_such_a_kind(
    reason: Reason,
) -> None:
    log = PeersFault(clock=lambda: 0.0)

    assert [log.filter(record(reason)) for _ in range(50)].count(True) == 1


@pytest.mark.parametrize("text", ["Exception in ASGI application\n", "Started"])
def test_faults_of_ours_pass_as_they_are(text: str) -> None:
    log = PeersFault(clock=lambda: 0.0)
    ours = record(text, ValueError("x"))

    assert all(log.filter(ours) for _ in range(50))
    assert ours.exc_info is not None
    assert ours.levelname == "ERROR"


# --- Lines for programs ----------------------------------------------------------


class Lines(logging.Handler):
    """Keeps the lines of the log as they would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))

    def of(self, logger: str) -> list[dict[str, Any]]:
        lines = [json.loads(text) for text in self.texts]
        return [line for line in lines if line["logger"] == logger]


@pytest.fixture
def lines() -> Any:
    handler = Lines()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


def test_a_line_is_one_object_whatever_it_says() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as exc:
        told = record('a "quoted"\ntext, grün', exc)
    text = JsonLines().format(told)

    assert "\n" not in text
    line = json.loads(text)
    assert line["message"] == 'a "quoted"\ntext, grün'
    assert (line["level"], line["logger"]) == ("ERROR", "uvicorn.error")
    assert line["exception"].startswith("ValueError: two\nlines")
    assert re.fullmatch(r"20..-..-..T..:..:..\.\d{3}\+00:00", line["time"])


async def test_the_lines_of_a_turn_say_whose_it_is_and_nothing_of_it(
    user: User,
    provider: Provider,
    upstream: Upstream,
    turn: Callable[..., Turn],
    lines: Lines,
) -> None:
    upstream.status = 500
    turns = [turn("a canary", session_id=f"s-{number}") for number in range(2)]

    ends = [await end_of(user, one) for one in turns]

    logged = lines.of("llmchat.answers.generation")
    assert [line["sessionId"] for line in logged] == ["s-0", "s-1"]
    assert {line["userId"] for line in logged} == {user.pk}
    told = [str(end.message_id) for end in ends if isinstance(end, Failed)]
    assert [line["messageId"] for line in logged] == told
    place = [str(end.conversation_id) for end in ends if isinstance(end, Failed)]
    assert [line["conversationId"] for line in logged] == place
    assert "canary" not in "".join(lines.texts)


async def test_a_turn_over_rest_is_found_by_its_request(
    user: User, provider: Provider, upstream: Upstream, lines: Lines
) -> None:
    upstream.status = 500
    pair = await in_database(lambda: issue_tokens(user=user))
    headers = {"authorization": f"Bearer {pair.access}", "x-request-id": "from/proxy-7"}
    body = {"provider": "test", "messages": [{"role": "user", "content": "Hi"}]}

    answer = await AsyncClient().post(
        "/llm/chat", body, content_type="application/json", headers=headers
    )

    assert answer.headers["X-Request-ID"] == "from/proxy-7"
    [line] = lines.of("llmchat.answers.generation")
    assert line["requestId"] == "from/proxy-7"
    assert line["messageId"] == answer.json()["messageId"]


async def test_work_for_all_turns_is_not_taken_for_that_of_the_first(
    user: User,
    provider: Provider,
    upstream: Upstream,
    turn: Callable[..., Turn],
    lines: Lines,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoints, "INTERVAL_S", 0.01)
    upstream.steps = ("Hel", go := asyncio.Event())

    async def is_told() -> bool:
        return bool(lines.of("llmchat.answers.checkpoints"))

    async with streaming(user, turn()):
        with broken_database("INSERT"):
            await until(is_told)
        go.set()

    for line in lines.of("llmchat.answers.checkpoints"):
        assert line.keys() == {"time", "level", "logger", "message"}


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "a\u00e9", "<script>"])
def test_an_id_that_nobody_wants_in_the_log_is_replaced(
    client: Client, sent: str
) -> None:
    answers = [client.get("/healthz", headers={"x-request-id": sent}) for _ in range(2)]

    made = [answer.headers["X-Request-ID"] for answer in answers]
    assert all(re.fullmatch("[0-9a-f]{16}", one) for one in made)
    assert made[0] != made[1]


async def test_fields_are_of_the_task_that_sets_them() -> None:
    async def work(number: int) -> object:
        log_fields.begin(requestId=number)
        await asyncio.sleep(0)
        log_fields.add(userId=number)
        await asyncio.sleep(0)
        return log_fields.current()

    found = await asyncio.gather(*[work(number) for number in range(3)])

    assert found == [{"requestId": n, "userId": n} for n in range(3)]
