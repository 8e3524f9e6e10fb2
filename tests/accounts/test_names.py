"""A user name has one form, wherever it is entered."""

from __future__ import annotations

import importlib
import json
import time
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.test import Client

from accounts import names
from accounts.models import User
from tests.support.log_in import PASSWORD

pytestmark = pytest.mark.django_db(transaction=True)

LONG = "\ufdfa" * 150  # each becomes 18 characters when normalized
# Pairs of spellings: as stored, as typed.
SPELLINGS = [
    ("アンナ", "ｱﾝﾅ"),
    ("ガギ", "ｶﾞｷﾞ"),
    ("Anna", "Ａｎｎａ"),
    ("José", "Jose\u0301"),
    ("각", "\u1100\u1161\u11a8"),
    ("ann", "  ann\u3000"),
    ("fi", "ﬁ"),
]


def post(client: Client, path: str, **body: str) -> Any:
    return client.post(path, json.dumps(body), content_type="application/json")


@pytest.mark.parametrize(("stored", "typed"), SPELLINGS)
def test_a_name_registers_and_logs_in_in_every_spelling(
    client: Client, stored: str, typed: str
) -> None:
    made = post(client, "/auth/register", username=typed, password=PASSWORD)

    assert made.status_code == 201
    assert made.json()["username"] == stored
    for name in (typed, stored):
        answer = post(client, "/auth/token", username=name, password=PASSWORD)
        assert answer.status_code == 200, name
    again = post(client, "/auth/register", username=stored, password=PASSWORD)
    assert again.json()["error"] == "username: This username is taken."


@pytest.mark.parametrize(("stored", "typed"), SPELLINGS)
def test_an_operator_logs_in_in_every_spelling(
    client: Client, stored: str, typed: str
) -> None:
    User.objects.create_superuser(typed, password=PASSWORD)

    answer = client.post(
        "/admin/login/?next=/admin/", {"username": stored, "password": PASSWORD}
    )

    assert User.objects.get().username == stored
    assert answer.status_code == 302


@pytest.mark.parametrize("raw", ["Jose\u0301", "José"])
def test_a_name_written_behind_our_back_logs_in(client: Client, raw: str) -> None:
    user = User.objects.create_user("somebody", password=PASSWORD)
    User.objects.filter(pk=user.pk).update(username=raw)

    for typed in ("José", "Jose\u0301"):
        answer = post(client, "/auth/token", username=typed, password=PASSWORD)
        assert answer.status_code == 200, typed
    # No other user can take a name that looks the same.
    taken = post(client, "/auth/register", username="José", password=PASSWORD)
    assert taken.status_code == 400


def test_the_length_counts_as_it_is_stored(client: Client) -> None:
    short = post(client, "/auth/register", username="ｶﾞ" * 100, password=PASSWORD)
    long = post(client, "/auth/register", username="ﷺ" * 100, password=PASSWORD)

    assert short.status_code == 201
    assert long.status_code == 400


@pytest.mark.parametrize("path", ["/auth/token", "/auth/register", "/admin/login/"])
def test_a_name_of_very_many_accents_takes_no_time(client: Client, path: str) -> None:
    """Sorting so many accents takes two seconds of CPU time, and minutes for more."""
    fields = {"username": "\u0301\u0316" * 20_000, "password": PASSWORD}
    began = time.process_time()

    if path == "/admin/login/":
        answer = client.post(path, fields)
    else:
        answer = post(client, path, **fields)

    assert answer.status_code == (200 if path == "/admin/login/" else 400)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("path", ["/auth/token", "/admin/login/"])
def test_every_spelling_has_the_same_count(client: Client, path: str) -> None:
    spellings = ["ann", "ann ", "ann  ", "ＡＮＮ", "\u3000Ann", "ANN\n"]
    statuses = []
    for number in range(12):
        fields = {"username": spellings[number % 6], "password": "wrong"}
        if path == "/auth/token":
            statuses.append(post(client, path, **fields).status_code)
        else:
            statuses.append(client.post(path, fields).status_code)

    assert statuses[10:] == [429, 429]
    assert 429 not in statuses[:10]


def test_the_admin_stores_a_normalized_name(client: Client) -> None:
    client.force_login(User.objects.create_superuser("root", password=PASSWORD))
    passwords = {"password1": PASSWORD, "password2": PASSWORD}
    url = "/admin/accounts/user/"
    usable = {"usable_password": "true"}

    client.post(f"{url}add/", {"username": " ｶﾞ ", **passwords, **usable})
    user = User.objects.get(username="ガ")
    joined = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    no_budgets = {"budgets-TOTAL_FORMS": 0, "budgets-INITIAL_FORMS": 0}
    client.post(
        f"{url}{user.pk}/change/",
        {"username": "Ｂo\u0308", "is_active": "on", **joined, **no_budgets},
    )

    user.refresh_from_db()
    assert user.username == "Bö"


def test_a_password_is_set_by_command_for_any_spelling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = User.objects.create_user("José", password=PASSWORD)
    monkeypatch.setattr("getpass.getpass", lambda prompt: "another long password")

    call_command("changepassword", "Jose\u0301 ", stdout=StringIO())

    user.refresh_from_db()
    assert user.check_password("another long password")


def test_a_superuser_is_made_by_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)

    call_command(
        "createsuperuser",
        interactive=False,
        username="Ｒｏｏｔ",
        email="",
        stdout=StringIO(),
    )

    assert User.objects.get().username == "Root"


def test_stored_names_are_normalized_once_where_they_are_free() -> None:
    migration = importlib.import_module("accounts.migrations.0002_names_and_tokens")
    raw = ["Ｂob", "Jose\u0301", "José", "plain", LONG]
    for number, name in enumerate(raw):
        user = User.objects.create_user(f"user{number}")
        User.objects.filter(pk=user.pk).update(username=name)

    with connection.schema_editor() as editor:
        migration.normalize_names(apps, editor)

    stored = list(User.objects.order_by("pk").values_list("username", flat=True))
    assert stored == ["Bob", "Jose\u0301", "José", "plain", LONG]


@pytest.mark.parametrize(("stored", "typed"), SPELLINGS)
def test_normalizing_twice_changes_nothing(stored: str, typed: str) -> None:
    assert names.normalize(typed) == stored
    assert names.normalize(stored) == stored
