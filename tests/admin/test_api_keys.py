"""API keys in the admin: made for a user, shown once and revoked."""

from __future__ import annotations

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import api_keys
from accounts.errors import TokenError
from accounts.key_text import digest_of
from accounts.models import ApiKey, User
from accounts.tokens import user_for_token
from llmchat.models import Budget

LIST = "/admin/accounts/apikey/"
ADD = f"{LIST}add/"


@pytest.fixture
def entered(ann: User) -> dict[str, object]:
    return {"user": ann.pk, "name": "nightly", "scopes": ["read", "chat"]}


@pytest.fixture
def operator(db: None, client: Client) -> Client:
    """The client of an operator who may do anything with API keys, and nothing else."""
    user = User.objects.create_user("operator", is_staff=True)
    rights = Permission.objects.filter(content_type__model="apikey")
    user.user_permissions.set(rights)
    client.force_login(user)
    return client


def made(user: User, name: str = "a program", **fields: object) -> tuple[ApiKey, str]:
    return api_keys.create(user_id=user.pk, name=name, scopes="chat", **fields)


def page_of(client: Client, url: str, **query: str) -> str:
    response = client.get(url, query)
    assert response.status_code == 200
    return response.content.decode()


def test_a_key_is_made_and_shown_once(
    admin_client: Client, ann: User, entered: dict[str, object]
) -> None:
    assert "llmc_" in page_of(admin_client, LIST)  # in the help of the search
    response = admin_client.post(ADD, entered)
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    (key,) = set(re.findall(r"llmc_\w{49}", response.content.decode()))

    row = ApiKey.objects.get()
    assert (row.digest, row.scopes) == (digest_of(key), "chat read")
    user, verified = user_for_token(key)
    assert (user, verified.key_id) == (ann, row.pk)
    # It is not in anything that is stored or sent later.
    sessions = [session.get_decoded() for session in Session.objects.all()]
    later = page_of(admin_client, LIST)
    later += page_of(admin_client, f"{LIST}{row.pk}/change/")
    cookies = str(admin_client.cookies)
    log = str(list(LogEntry.objects.values()))
    for text in (later, cookies, str(sessions), log):
        assert key[12:] not in text
    assert row.prefix in later


def test_what_is_wrong_makes_no_key(
    admin_client: Client, entered: dict[str, object]
) -> None:
    wrongs: list[dict[str, object]] = [
        {"scopes": []},
        {"scopes": ["x"]},
        {"name": ""},
        {"name": "a\x1b[31mb"},
        {"name": "a\u202eb"},
        {"user": 10**9},
    ]
    for wrong in wrongs:
        response = admin_client.post(ADD, entered | wrong)
        assert response.status_code == 200
        assert response.context["errors"]
    assert not ApiKey.objects.exists()


def errors_of(response: HttpResponse) -> str:
    assert response.status_code == 200
    return str(response.context["errors"])  # type: ignore[attr-defined]


def test_a_user_has_no_more_keys_by_the_admin_than_by_themselves(
    admin_client: Client,
    ann: User,
    entered: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api_keys, "MOST", 2)
    monkeypatch.setattr(api_keys, "MOST_ENDED", 1)
    ended = [made(ann)[0] for _ in range(2)]
    full = "ann has 2 API keys in use. Revoke one first."
    assert full in errors_of(admin_client.post(ADD, entered))

    for row in ended:
        api_keys.revoke(row)
    expired, _ = made(ann, expires_at=timezone.now())
    for _ in range(2):
        assert "llmc_" in admin_client.post(ADD, entered).content.decode()
    # The latest keys that have ended are kept, and cannot be extended above the limit.
    kept = ApiKey.objects.exclude(pk__in=ApiKey.objects.live().values("pk"))
    assert [row.pk for row in kept] == [expired.pk]
    url = f"{LIST}{expired.pk}/change/"
    prolonged = {"name": "x", "expires_at_0": "2999-01-01", "expires_at_1": "00:00"}
    assert full in errors_of(admin_client.post(url, prolonged))
    as_it_is = {
        "name": "y",
        "expires_at_0": f"{expired.expires_at:%Y-%m-%d}",
        "expires_at_1": f"{expired.expires_at:%H:%M:%S}",
    }
    assert admin_client.post(url, as_it_is).status_code == 302
    assert ApiKey.objects.live().count() == 2

    api_keys.revoke(ApiKey.objects.live().first())
    assert admin_client.post(url, prolonged).status_code == 302
    assert ApiKey.objects.live().count() == 2
    # Saving a key that is in use already does not add one.
    assert admin_client.post(url, {"name": "renamed"}).status_code == 302
    assert ApiKey.objects.get(pk=expired.pk).name == "renamed"


def test_an_account_that_is_not_active_gets_no_key(
    admin_client: Client, ann: User, entered: dict[str, object]
) -> None:
    User.objects.filter(pk=ann.pk).update(is_active=False)
    response = admin_client.post(ADD, entered)
    assert "This account is not active." in errors_of(response)
    assert not ApiKey.objects.exists()


def test_only_superusers_make_keys_of_superusers(
    operator: Client, ann: User, entered: dict[str, object]
) -> None:
    boss = User.objects.create_superuser("boss")
    response = operator.post(ADD, entered | {"user": boss.pk})
    assert response.context["errors"]
    assert not ApiKey.objects.exists()

    assert operator.post(ADD, entered).status_code == 200
    assert ApiKey.objects.get().user == ann


def test_of_an_existing_key_neither_owner_nor_scopes_change(
    operator: Client, ann: User
) -> None:
    row, key = made(ann)
    boss = User.objects.create_superuser("boss")
    entered = {
        "user": boss.pk,
        "scopes": ["usage"],
        "name": "renamed",
        "messages_per_minute": "5",
    }
    assert operator.post(f"{LIST}{row.pk}/change/", entered).status_code == 302
    row.refresh_from_db()
    assert (row.user, row.scopes) == (ann, "chat")
    assert (row.name, row.messages_per_minute) == ("renamed", 5)
    assert user_for_token(key)[1].messages_per_minute == 5


def test_only_superusers_change_keys_of_superusers_and_others_may_revoke_them(
    operator: Client, ann: User
) -> None:
    ends_at = timezone.now()
    boss = User.objects.create_superuser("boss")
    row, _ = made(boss, expires_at=ends_at)
    url = f"{LIST}{row.pk}/change/"
    later = {"name": "mine", "expires_at_0": "2999-01-01", "expires_at_1": "00:00"}
    assert row.prefix in page_of(operator, url)
    assert operator.post(url, later).status_code == 403
    row.refresh_from_db()
    assert (row.name, row.expires_at) == ("a program", ends_at)

    operator.post(LIST, {"action": "revoke_keys", "_selected_action": [row.pk]})
    row.refresh_from_db()
    assert row.revoked_at is not None
    operator.force_login(boss)
    assert operator.post(url, later).status_code == 302
    row.refresh_from_db()
    assert (row.name, row.expires_at and row.expires_at.year) == ("mine", 2999)


def test_selected_keys_are_revoked(operator: Client, ann: User) -> None:
    row, key = made(ann)
    _, others = made(ann)
    assert user_for_token(key)[0] == user_for_token(others)[0] == ann
    data = {"action": "revoke_keys", "_selected_action": [row.pk]}
    response = operator.post(LIST, data, follow=True)

    assert "Revoked 1 API key." in response.content.decode()
    with pytest.raises(TokenError, match="Authentication token invalid"):
        user_for_token(key)
    assert user_for_token(others)[0] == ann
    entry = LogEntry.objects.get()
    assert (entry.change_message, entry.object_repr) == ("Revoked.", str(row))
    before = ApiKey.objects.get(pk=row.pk).revoked_at
    operator.post(LIST, data)
    assert ApiKey.objects.get(pk=row.pk).revoked_at == before


def test_a_key_that_somebody_else_has_just_revoked_is_not_logged_twice(
    operator: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, _ = made(ann)
    revoke = api_keys.revoke

    def revoked_before(key: ApiKey) -> bool:
        assert revoke(ApiKey.objects.get(pk=key.pk))
        return revoke(key)

    monkeypatch.setattr(api_keys, "revoke", revoked_before)
    data = {"action": "revoke_keys", "_selected_action": [row.pk]}
    response = operator.post(LIST, data, follow=True)
    assert "Nothing to revoke: " in response.content.decode()
    assert not LogEntry.objects.exists()


def test_the_list_tells_states_and_takes_the_same_queries_for_any_number(
    operator: Client, ann: User
) -> None:
    made(ann)
    api_keys.revoke(made(ann)[0])
    made(ann, expires_at=timezone.now())

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page = page_of(operator, LIST)
        assert all(state in page for state in ("active", "expired", "revoked"))
        return len(captured)

    few = queries()
    for number in range(10):
        made(User.objects.create_user(f"user {number}"))
    assert queries() == few


def test_a_budget_of_a_key_is_made_and_named(admin_client: Client, ann: User) -> None:
    row, _ = made(ann, "nightly")
    url = "/admin/llmchat/budget/"
    entered = {"api_key": row.pk, "period": "day", "unit": "tokens", "limit": "500"}
    assert admin_client.post(f"{url}add/", entered).status_code == 302
    assert Budget.objects.get().api_key == row
    assert f"key nightly ({row.prefix}…) of ann" in page_of(admin_client, url)

    twice = admin_client.post(f"{url}add/", entered)
    refused = "This API key already has a budget with this period and unit."
    assert refused in twice.content.decode()
    both = admin_client.post(f"{url}add/", entered | {"user": ann.pk})
    assert "Choose one user, one group or one API key, or" in both.content.decode()


def test_an_account_is_deleted_with_its_keys(admin_client: Client, ann: User) -> None:
    row, key = made(ann)
    Budget.objects.create(api_key=row, limit=5)
    url = f"/admin/accounts/user/{ann.pk}/delete/"
    assert "API keys" in page_of(admin_client, url)
    admin_client.post(url, {"post": "yes"})
    assert not ApiKey.objects.exists()
    assert not Budget.objects.exists()
    with pytest.raises(TokenError):
        user_for_token(key)
