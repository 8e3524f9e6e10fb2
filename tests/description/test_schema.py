"""The description of the API is complete, valid and the same as what is validated."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
import yaml
from django.test import Client
from django.utils import timezone
from drf_spectacular.validation import validate_schema

from llmchat.api.conversation_fields import in_full
from llmchat.api.validation import CHAT_FIELDS
from llmchat.description import schema as described
from llmchat.description.errors import STATUSES
from llmchat.description.shapes import SHAPES
from llmchat.models import Message
from llmchat.providers.types import FinishReason
from serving.errors import CODES

# A code that only sockets get, and one that belongs to no method of a route.
NOT_OF_AN_OPERATION = {"too_many_sockets", "method_not_allowed"}


def test_every_route_is_described() -> None:
    assert described.undescribed() == []


def test_every_description_has_a_route() -> None:
    assert described.unrouted() == []


def test_a_route_without_description_is_told_what_to_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("GET /llm/streams", "GET /healthz"):
        monkeypatch.delitem(described.OPERATIONS, name)

    first, second = described.undescribed()

    assert first.startswith("GET /llm/streams has no description: add ")
    assert '"GET /healthz": Operation(...)' in second


def test_the_schema_is_openapi() -> None:
    schema = described.api_schema()

    validate_schema(schema)
    assert schema["openapi"].startswith("3.1")


def test_the_fields_of_a_turn_are_those_that_are_validated() -> None:
    fields = SHAPES["ChatRequest"]["properties"]

    assert set(fields) == set(CHAT_FIELDS), "llmchat/description/shapes.py: CHAT_FIELDS"
    may_be_null = {n for n, field in fields.items() if "null" in field["type"]}
    assert may_be_null == {n for n, field in CHAT_FIELDS.items() if field.may_be_null}


def test_why_an_answer_has_ended_is_one_of_the_reasons_that_are_described() -> None:
    reasons = {reason.value for reason in FinishReason}
    for shape in ("StreamDone", "Message"):
        described_ones = set(SHAPES[shape]["properties"]["finishReason"]["enum"])
        assert described_ones - {None} == reasons

    cut = {"cancelled": "cancelled", "error": "error", "interrupted": ""}
    for state, stored in cut.items():
        row = Message(state=state, finish_reason=stored, created_at=timezone.now())
        assert in_full(row)["finishReason"] is None
    whole = Message(finish_reason="length", created_at=timezone.now())
    assert in_full(whole)["finishReason"] == "length"


def test_every_error_code_of_the_api_is_in_an_operation() -> None:
    told = {
        code
        for name, operation in described.OPERATIONS.items()
        for code in operation.all_codes(name.partition(" ")[2])
    }

    assert {*STATUSES, *CODES.values()} - told == NOT_OF_AN_OPERATION
    assert {code: STATUSES[code] for code in CODES.values()} == {
        code: status for status, code in CODES.items()
    }


def test_the_schema_is_served_as_yaml_and_as_json(client: Client) -> None:
    as_yaml = client.get("/schema")
    as_json = client.get("/schema/", headers={"accept": "application/json"})

    assert as_json.json() == described.api_schema()
    assert yaml.safe_load(as_yaml.content) == as_json.json()
    assert as_json.headers["Content-Type"] == "application/json"


class Sources(HTMLParser):
    """Collects what a page loads, and what its policy would block."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self.ids: set[str] = set()
        self.targets: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.inline += [name for name in found if name == "style" or name[:2] == "on"]
        if tag in ("script", "style"):
            self.inline.append(tag)
        if tag == "link":
            self.loaded.append(found["href"])
        if "src" in found:
            self.loaded.append(found["src"])
        if "id" in found:
            self.ids.add(found["id"])
        if found.get("href", "").startswith("#"):
            self.targets.add(found["href"][1:])


def test_the_page_shows_every_operation_and_loads_nothing_of_others(
    client: Client,
) -> None:
    answer = client.get("/docs")
    page = answer.content.decode()
    sources = Sources(page)

    shown = re.findall(r"<h3><span[^>]*>(\w+)</span> <code>([^<]+)</code>", page)
    assert {f"{method} {path}" for method, path in shown} == set(described.OPERATIONS)
    assert sources.loaded
    assert all(source.startswith("/static/") for source in sources.loaded)
    assert sources.inline == []
    assert sources.targets <= sources.ids
    assert "1 to 1,000,000" in page


def test_an_operation_says_which_api_keys_may_use_it() -> None:
    paths = described.api_schema()["paths"]

    assert paths["/llm/chat"]["post"]["security"] == [
        {"accessToken": []},
        {"apiKey": ["chat"]},
    ]
    assert paths["/auth/keys"]["post"]["security"] == [{"accessToken": []}]
    assert paths["/llm/export"]["get"]["security"] == [{"accessToken": []}]
    assert "security" not in paths["/auth/token"]["post"]
