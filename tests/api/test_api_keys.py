"""API keys over REST: created, used, limited to their scopes, revoked."""

from __future__ import annotations

import asyncio
import io
import logging
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, get_resolver
from django.urls.resolvers import URLResolver
from django.utils import timezone
from rest_framework.permissions import AllowAny
from rest_framework.views import APIView

from accounts import api_keys, key_text
from accounts.errors import TokenError
from accounts.models import ApiKey, User
from accounts.permissions import HasScope
from accounts.tokens import user_for_token
from accounts.verified import Scope
from accounts.views import MeView
from llmchat.books.conversations import empty_conversation
from llmchat.database import in_database
from llmchat.models import Budget
from tests.support.api_keys import Program, make_key, make_user, page_of
from tests.support.limits import hold_the_minute

ASKED = {"provider": "test", "messages": [{"role": "user", "content": "Hi"}]}
WANTED = {"name": "nightly report", "scopes": ["chat", "read"]}
INVALID = (401, "token_invalid")


@pytest.fixture
async def ann(transactional_db: None) -> User:
    return await make_user("ann")


@pytest.fixture
def page(ann: User) -> Program:
    return page_of(ann)


def code_of(answer: tuple[int, Any]) -> tuple[int, str]:
    status, body = answer
    return status, body["code"]


async def test_a_key_is_made_used_and_revoked(
    page: Program, provider: object, upstream: object
) -> None:
    status, made = await page("POST", "/auth/keys", WANTED)
    key = made.pop("key")
    assert status == 201
    assert key.startswith(made["prefix"])
    assert made["prefix"].startswith("llmc_")
    assert made["state"] == "active"
    assert made["lastUsedAt"] is made["expiresAt"] is None

    program = Program(key)
    assert (await program("POST", "/llm/chat", ASKED))[0] == 200
    assert len((await program("GET", "/llm/conversations/"))[1]["results"]) == 1
    assert (await program("GET", "/auth/me"))[1]["username"] == "ann"

    _, listed = await page("GET", "/auth/keys/")
    (shown,) = listed["keys"]
    assert shown.pop("lastUsedAt")
    assert shown == {name: made[name] for name in shown}
    assert key not in str(listed)

    assert await page("DELETE", f"/auth/keys/{made['id']}") == (204, None)
    assert code_of(await program("GET", "/llm/conversations")) == INVALID
    assert (await page("DELETE", f"/auth/keys/{made['id']}/"))[0] == 204
    (shown,) = (await page("GET", "/auth/keys"))[1]["keys"]
    assert shown["state"] == "revoked"
    assert shown["revokedAt"]


async def test_a_key_is_made_with_an_end_and_limits_of_its_own(
    page: Program,
    provider: object,
    upstream: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hold_the_minute(monkeypatch)
    wanted = WANTED | {
        "expiresAt": "2999-12-31T23:00:00+01:00",
        "messagesPerMinute": 1,
        "budgets": [{"period": "month", "unit": "dollars", "limit": "2.50"}],
    }
    status, made = await page("POST", "/auth/keys", wanted)
    assert status == 201
    assert made["expiresAt"] == "2999-12-31T22:00:00+00:00"
    assert made["messagesPerMinute"] == 1
    (budget,) = made["budgets"]
    assert (budget["limit"], budget["spent"]) == ("2.5", "0")

    program = Program(made["key"])
    assert (await program("POST", "/llm/chat", ASKED))[0] == 200
    assert code_of(await program("POST", "/llm/chat", ASKED)) == (429, "rate_limited")
    (shown,) = (await page("GET", "/auth/keys"))[1]["keys"]
    assert shown["budgets"][0]["spent"] == "0.000013"


async def test_the_highest_limit_is_stored_as_it_is(page: Program) -> None:
    highest = f"999999999999.{20_000 * '0'}"
    budget = {"period": "day", "unit": "tokens", "limit": highest}
    assert (await page("POST", "/auth/keys", WANTED | {"budgets": [budget]}))[0] == 201

    (shown,) = (await page("GET", "/auth/keys"))[1]["keys"]
    assert shown["budgets"][0]["limit"] == "999999999999"


async def test_a_used_up_budget_of_a_key_is_told_over_rest(
    ann: User, page: Program, provider: object, upstream: object
) -> None:
    row, key = await make_key(ann)
    await in_database(lambda: Budget.objects.create(api_key=row, limit=0))

    status, body = await Program(key)("POST", "/llm/chat", ASKED)

    assert (status, body["code"]) == (429, "budget_exceeded")
    assert body["error"].startswith("The API key's daily token budget is used up")
    assert (await page("POST", "/llm/chat", ASKED))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/llm/conversations", "read"),
        ("HEAD", "/llm/conversations", "read"),
        ("POST", "/llm/conversations", "chat"),
        ("GET", "/llm/conversations/{id}", "read"),
        ("PATCH", "/llm/conversations/{id}", "chat"),
        ("DELETE", "/llm/conversations/{id}", "chat"),
        ("GET", "/llm/conversations/{id}/export.json", "read"),
        ("GET", "/llm/streams", "read"),
        ("GET", "/llm/streams/1", "read"),
        ("DELETE", "/llm/streams/1", "chat"),
        ("GET", "/llm/providers", "read"),
        ("POST", "/llm/chat", "chat"),
        ("GET", "/auth/me", "read"),
        ("DELETE", "/auth/me", None),
        ("POST", "/auth/password", None),
        ("GET", "/llm/usage", "usage"),
        ("GET", "/llm/export", None),
        ("GET", "/auth/keys", None),
        ("POST", "/auth/keys", None),
        ("DELETE", "/auth/keys/1", None),
    ],
)
async def test_a_key_may_do_what_its_scopes_say(
    ann: User, method: str, path: str, scope: str | None
) -> None:
    row = empty_conversation(ann.pk, "x")
    await in_database(row.save)
    path = path.replace("{id}", str(row.pk))
    others = " ".join(one for one in Scope.values if one != scope)

    _, key = await make_key(ann, others)
    status, body = await Program(key)(method, path, {"title": "x"})
    assert status == 403
    if method != "HEAD":
        assert body["code"] == "scope_missing"
    if scope is not None:
        _, key = await make_key(ann, scope)
        assert (await Program(key)(method, path, {"title": "x"}))[0] not in (401, 403)


def _views(patterns: Any) -> list[Any]:
    found = []
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            found += _views(pattern.url_patterns)
        elif isinstance(pattern, URLPattern):
            found.append(getattr(pattern.callback, "cls", None))
    return [view for view in found if view is not None]


def test_every_view_behind_a_token_names_the_scope_of_each_method() -> None:
    views = {
        view
        for view in _views(get_resolver().url_patterns)
        if issubclass(view, APIView) and AllowAny not in view.permission_classes
    }
    methods = ("get", "post", "put", "patch", "delete")
    named = {view: set(getattr(view, "scopes", {})) for view in views}

    assert len(views) > 5
    assert {view for view in views if HasScope not in view.permission_classes} == set()
    assert named == {
        view: {name.upper() for name in methods if hasattr(view, name)}
        for view in views
    }


async def test_a_view_that_names_no_scope_is_for_access_tokens(
    ann: User, page: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(MeView, "scopes")
    _, key = await make_key(ann)

    assert code_of(await Program(key)("GET", "/auth/me")) == (403, "scope_missing")
    assert (await page("GET", "/auth/me"))[0] == 200


async def test_a_method_that_is_not_there_is_no_question_of_scopes(ann: User) -> None:
    _, key = await make_key(ann)
    answer = await Program(key)("PUT", "/llm/conversations")
    assert code_of(answer) == (405, "method_not_allowed")


async def test_a_key_whose_time_or_user_has_gone_is_refused(ann: User) -> None:
    soon = timezone.now() + timedelta(seconds=60)
    row, key = await make_key(ann, expires_at=soon)
    program = Program(key)
    assert (await program("GET", "/llm/conversations"))[0] == 200

    row.expires_at = timezone.now()
    await in_database(row.save)
    answer = await program("GET", "/llm/conversations")
    assert code_of(answer) == (401, "token_expired")

    row.expires_at = None
    await in_database(row.save)
    assert (await program("GET", "/llm/conversations"))[0] == 200
    ann.is_active = False
    await in_database(ann.save)
    assert code_of(await program("GET", "/llm/conversations")) == INVALID


async def test_what_is_no_key_is_refused_without_the_database(ann: User) -> None:
    _, key = await make_key(ann)
    mistyped = key[:-1] + ("0" if key[-1] != "0" else "1")
    for wrong in (mistyped, key[:-1], f"{key}0", "llmc_", "llmc_ü"):
        # In this thread the database cannot be used.
        with pytest.raises(TokenError, match="Authentication token invalid"):
            user_for_token(wrong)
    made_up = await Program(key_text.new_key())("GET", "/llm/conversations")
    assert code_of(made_up) == INVALID


async def test_a_key_of_another_user_is_not_there(ann: User, page: Program) -> None:
    row, key = await make_key(await make_user("bob"))

    for ident in (row.pk, 0, "x", "9" * 30):
        answer = await page("DELETE", f"/auth/keys/{ident}")
        assert code_of(answer) == (404, "key_not_found")
    assert (await page("GET", "/auth/keys"))[1] == {"keys": []}
    assert (await Program(key)("GET", "/auth/me"))[1]["username"] == "bob"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 101),
        ("name", "a\0b"),
        ("name", "a\x1b[31mb"),
        ("name", "a\x7fb"),
        ("name", "a\u202eb"),
        ("name", None),
        ("scopes", []),
        ("scopes", "chat"),
        ("scopes", ["admin"]),
        ("scopes", [["chat"]]),
        ("expiresAt", "tomorrow"),
        ("expiresAt", "2999-01-01T00:00:00"),
        ("expiresAt", "2001-01-01T00:00:00Z"),
        ("expiresAt", "0001-01-01T00:00:00+23:00"),
        ("expiresAt", 5),
        ("messagesPerMinute", 0),
        ("messagesPerMinute", True),
        ("budgets", {}),
        ("budgets", [{"period": "day", "unit": "tokens"}]),
        ("budgets", [{"period": "year", "unit": "tokens", "limit": 1}]),
        ("budgets", [{"period": ["day"], "unit": "tokens", "limit": 1}]),
        ("budgets", [{"period": "day", "unit": "tokens", "limit": "NaN"}]),
        ("budgets", [{"period": "day", "unit": "tokens", "limit": -1}]),
        ("budgets", [{"period": "day", "unit": "tokens", "limit": 1e30}]),
        ("budgets", [{"period": "day", "unit": "dollars", "limit": "0.1234567"}]),
        ("budgets", [{"period": "day", "unit": "tokens", "limit": "0e-999999999"}]),
        ("budgets", [{"period": "day", "unit": "tokens", "limit": "1_000"}]),
        ("budgets", [{"period": "day", "unit": "tokens", "limit": "٥"}]),
        ("budgets", [{"period": "day", "unit": "tokens", "limit": 999999999999.9996}]),
        ("budgets", 2 * [{"period": "day", "unit": "tokens", "limit": 1}]),
    ],
)
async def test_what_is_not_a_key_to_be_is_refused_and_named(
    page: Program, field: str, value: object
) -> None:
    status, body = await page("POST", "/auth/keys", WANTED | {field: value})

    assert (status, body["code"]) == (400, "bad_request")
    assert body["error"].startswith(field)
    assert await in_database(ApiKey.objects.count) == 0


async def test_a_user_has_so_many_keys_at_most(
    ann: User, page: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_keys, "MOST", 2)
    monkeypatch.setattr(api_keys, "MOST_ENDED", 1)
    await make_key(await make_user("bob"))
    ids = [(await make_key(ann))[0].pk for _ in range(2)]
    assert code_of(await page("POST", "/auth/keys", WANTED)) == (409, "too_many_keys")

    for ident in ids:
        await page("DELETE", f"/auth/keys/{ident}")
    assert (await page("POST", "/auth/keys", WANTED))[0] == 201
    _, listed = await page("GET", "/auth/keys")
    assert [one["id"] for one in listed["keys"]][1:] == ids[1:]


async def test_a_user_who_is_gone_elsewhere_makes_no_key(
    ann: User, page: Program
) -> None:
    assert (await page("GET", "/auth/keys"))[0] == 200
    # For a second this process does not know what another one has changed.
    await in_database(lambda: User.objects.filter(pk=ann.pk).update(is_active=False))
    assert code_of(await page("POST", "/auth/keys", WANTED)) == INVALID
    await in_database(lambda: User.objects.filter(pk=ann.pk)._raw_delete("default"))
    assert code_of(await page("POST", "/auth/keys", WANTED)) == INVALID


async def test_a_key_is_revoked_once_and_not_where_it_is_gone(ann: User) -> None:
    row, _ = await make_key(ann)
    late = await in_database(ApiKey.objects.get)
    await in_database(api_keys.revoke, row)
    await in_database(api_keys.revoke, late)
    assert row.revoked_at
    assert (await in_database(ApiKey.objects.get)).revoked_at == row.revoked_at

    gone, _ = await make_key(ann)
    await in_database(ApiKey.objects.filter(pk=gone.pk).delete)
    await in_database(api_keys.revoke, gone)
    assert await in_database(ApiKey.objects.count) == 1


async def test_of_keys_that_are_made_at_once_no_more_are_made_than_allowed(
    ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_keys, "MOST", 3)
    made = await asyncio.gather(
        *(make_key(ann) for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(one, tuple) for one in made) == 3
    assert await in_database(ApiKey.objects.count) == 3


async def test_a_burst_reads_the_key_once_and_notes_its_use_once(ann: User) -> None:
    _, key = await make_key(ann)

    def burst() -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            for _ in range(5):
                user_for_token(key)
        return [query["sql"] for query in queries]

    asked = await in_database(burst)
    assert sum("accounts_apikey" in sql for sql in asked) == 1
    assert not any("UPDATE" in sql for sql in asked)


async def test_a_key_that_only_asks_whose_it_is_is_seen_as_used(ann: User) -> None:
    _, key = await make_key(ann)

    assert (await Program(key)("GET", "/auth/me"))[0] == 200

    assert (await in_database(ApiKey.objects.get)).last_used_at is not None


async def test_a_key_is_nowhere_to_be_seen(
    page: Program, ann: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    _, made = await page("POST", "/auth/keys", WANTED)
    key = made["key"]
    for wrong in (key, key + "x"):
        await Program(wrong)("GET", "/llm/conversations")
        await Program(wrong)("POST", "/auth/keys", WANTED)
    out = io.StringIO()
    await in_database(lambda: call_command("dumpdata", stdout=out))
    row = await in_database(ApiKey.objects.get)

    secret = key[len(made["prefix"]) :]
    logged = "\n".join(record.getMessage() for record in caplog.records)
    shown = f"{row!r} {row} {vars(row)} {user_for_token}"
    for text in (logged, out.getvalue(), shown):
        assert secret not in text
    assert made["prefix"] in out.getvalue()


async def test_a_key_reads_its_own_budget_beside_those_of_its_user(
    ann: User, page: Program
) -> None:
    row, key = await make_key(ann, "usage")
    other, _ = await make_key(ann)
    for owner in ({"user": ann}, {"api_key": row}, {"api_key": other}):
        await in_database(lambda owner=owner: Budget.objects.create(limit=5, **owner))

    _, seen = await Program(key)("GET", "/llm/usage")
    assert [budget["of"] for budget in seen["budgets"]] == ["user", "key"]
    _, seen = await page("GET", "/llm/usage")
    assert [budget["of"] for budget in seen["budgets"]] == ["user"]
