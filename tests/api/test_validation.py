"""What clients may send, which is the same over Socket.IO and REST."""

from __future__ import annotations

import uuid

import pytest

from llmchat.access import catalogue
from llmchat.access.permissions import Access
from llmchat.api.validation import (
    CANCEL_FIELDS,
    CHAT_FIELDS,
    MAX_MESSAGES,
    TURN_FIELDS,
    readable_session_id,
    turn_from,
    validated,
)
from llmchat.errors import ChatError

USER = {"role": "user", "content": "Hi"}
GOOD = {"sessionId": "s-1", "provider": "openai", "messages": [USER]}


def without(name):
    return {key: value for key, value in GOOD.items() if key != name}


def complaint(data, kind=TURN_FIELDS):
    with pytest.raises(ChatError) as refused:
        validated(kind, data)
    assert refused.value.code == "bad_request"
    assert refused.value.status == 400
    return refused.value.text


def test_the_documented_payload_is_a_turn():
    turn = turn_from(validated(TURN_FIELDS, GOOD))

    assert (turn.session_id, turn.provider) == ("s-1", "openai")
    assert [(m.role, m.content) for m in turn.messages] == [("user", "Hi")]
    assert (turn.model, turn.temperature, turn.max_tokens) == (None, None, None)


def test_the_optional_fields_are_taken():
    conversation_id = uuid.uuid4()
    extra = {
        "model": "m",
        "temperature": 1,
        "maxTokens": 5,
        "conversationId": str(conversation_id),
    }
    turn = turn_from(validated(TURN_FIELDS, GOOD | extra))

    assert (turn.model, turn.temperature, turn.max_tokens) == ("m", 1.0, 5)
    assert turn.conversation_id == conversation_id


@pytest.mark.parametrize(
    "name", ["model", "temperature", "maxTokens", "conversationId"]
)
def test_an_optional_field_may_be_null(name):
    assert validated(TURN_FIELDS, GOOD | {name: None})[name] is None


def test_unknown_fields_are_ignored():
    assert "colour" not in validated(TURN_FIELDS, GOOD | {"colour": "blue"})


@pytest.mark.parametrize("data", [None, 5, "text", [], [GOOD], True, 1.5])
def test_what_is_no_object_is_refused(data):
    assert complaint(data) == "The request must be an object"


@pytest.mark.parametrize("name", ["sessionId", "provider", "messages"])
def test_a_missing_field_is_named(name):
    assert complaint(without(name)) == f"{name} is missing"


@pytest.mark.parametrize("name", ["sessionId", "provider", "messages"])
def test_a_null_in_a_required_field_is_named(name):
    assert complaint(GOOD | {name: None}) == f"{name} must not be null"


BAD_VALUES = [
    ("sessionId", ""),
    ("sessionId", "x" * 129),
    ("sessionId", 5),
    ("sessionId", ["s-1"]),
    ("sessionId", "\ud800"),
    ("sessionId", "a\0b"),
    ("provider", {}),
    ("provider", 1),
    ("provider", ["openai"]),
    ("provider", True),
    ("messages", []),
    ("messages", {}),
    ("messages", "Hi"),
    ("messages", [USER] * (MAX_MESSAGES + 1)),
    ("messages", ["Hi"]),
    ("messages", [None]),
    ("messages", [{"role": "user"}]),
    ("messages", [{"role": "user", "content": ""}]),
    ("messages", [{"role": "system", "content": ""}, USER]),
    ("messages", [{"role": "assistant", "content": ""}]),
    ("messages", [{"role": "assistant", "content": None}, USER]),
    ("messages", [{"role": "assistant"}, USER]),
    ("messages", [{"role": "user", "content": 5}]),
    ("messages", [{"role": "user", "content": None}]),
    ("messages", [{"role": "user", "content": ["Hi"]}]),
    ("messages", [{"role": "tool", "content": "Hi"}]),
    ("messages", [{"role": ["user"], "content": "Hi"}]),
    ("messages", [{"content": "Hi"}]),
    ("messages", [USER, {"role": "assistant", "content": "Hi"}]),
    ("messages", [{"role": "system", "content": "Hi"}]),
    (
        "messages",
        [
            USER,
            {"role": "assistant", "content": "Hi"},
            {"role": "assistant", "content": ""},
        ],
    ),
    ("model", ""),
    ("model", 4),
    ("temperature", "1"),
    ("temperature", True),
    ("temperature", -0.1),
    ("temperature", 2.1),
    ("temperature", float("nan")),
    ("temperature", float("inf")),
    ("temperature", 10**400),
    ("maxTokens", 0),
    ("maxTokens", -1),
    ("maxTokens", 1.5),
    ("maxTokens", "5"),
    ("maxTokens", True),
    ("maxTokens", 10**30),
    ("max_tokens", 0),
    ("max_tokens", "5"),
    ("max_tokens", False),
    ("conversationId", "not-an-id"),
    ("conversationId", 5),
    ("conversationId", {}),
    ("replaces", "not-an-id"),
    ("replaces", 5),
]


@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
def test_a_wrong_value_is_refused_by_name(name, value):
    assert complaint(GOOD | {name: value}).startswith(name)


EMPTY = {"role": "assistant", "content": ""}


@pytest.mark.parametrize(
    "history",
    [
        [USER, EMPTY, USER],
        [EMPTY, USER, USER],
        [USER, EMPTY, EMPTY, USER],
        [USER, USER, EMPTY],
    ],
)
def test_an_answer_without_a_word_counts_for_nothing(history):
    turn = turn_from(validated(TURN_FIELDS, GOOD | {"messages": history}))
    assert [(m.role, m.content) for m in turn.messages] == [("user", "Hi")] * 2


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"max_tokens": 7}, 7),
        ({"max_tokens": 7, "maxTokens": 5}, 5),
        ({"max_tokens": 7, "maxTokens": None}, 7),
        ({"max_tokens": None}, None),
    ],
)
@pytest.mark.parametrize("kind", [TURN_FIELDS, CHAT_FIELDS])
def test_max_tokens_is_taken_for_max_tokens_in_camel_case(given, expected, kind):
    assert turn_from(validated(kind, GOOD | given)).max_tokens == expected


@pytest.mark.parametrize(
    "name", ["", "x" * 65, "x" * 500, "open\0ai", "\ud800", " openai", "ОpenAI", "%"]
)
@pytest.mark.django_db
def test_any_other_provider_name_is_not_found(name):
    turn = turn_from(validated(TURN_FIELDS, GOOD | {"provider": name}))
    with pytest.raises(ChatError) as refused:
        catalogue.route(turn.provider, Access({}), turn.model)
    assert (refused.value.code, refused.value.text) == (
        "provider_not_found",
        "Provider not found",
    )


def test_the_place_of_a_wrong_message_is_named():
    text = complaint(GOOD | {"messages": [USER, {"role": "user", "content": 1}]})
    assert text == "messages[1].content must be a non-empty string"


@pytest.mark.parametrize("content", ["a\0b", "a\ud800b"])
def test_text_that_cannot_be_stored_is_replaced(content):
    turn = turn_from(
        validated(
            TURN_FIELDS, GOOD | {"messages": [{"role": "user", "content": content}]}
        )
    )
    assert turn.messages[0].content == "a\ufffdb"


def test_as_many_messages_as_allowed_are_taken():
    turn = turn_from(validated(TURN_FIELDS, GOOD | {"messages": [USER] * MAX_MESSAGES}))
    assert len(turn.messages) == MAX_MESSAGES


@pytest.mark.parametrize("data", [without("sessionId"), {**GOOD, "sessionId": None}])
def test_rest_needs_no_session_id(data):
    fields = validated(CHAT_FIELDS, data)
    assert not fields.get("stream")
    assert turn_from(fields, session_id="made-up").session_id == "made-up"


@pytest.mark.parametrize("stream", ["true", 1, None, []])
def test_rest_takes_a_switch_for_a_switch(stream):
    assert complaint(GOOD | {"stream": stream}, CHAT_FIELDS)


def test_a_cancel_needs_its_session_id():
    assert complaint({}, CANCEL_FIELDS) == "sessionId is missing"


@pytest.mark.parametrize(
    ("data", "session_id"),
    [
        (GOOD, "s-1"),
        ({"sessionId": "s-1"}, "s-1"),
        ({"sessionId": 5}, None),
        ({"sessionId": ""}, None),
        ({}, None),
        (None, None),
        ([GOOD], None),
        ("s-1", None),
    ],
)
def test_a_session_id_is_read_where_there_is_one(data, session_id):
    assert readable_session_id(data) == session_id
