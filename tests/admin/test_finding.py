"""Lists find API keys by what is known of them, and conversations by their user."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts import api_keys
from accounts.key_text import new_key
from accounts.models import ApiKey, User
from tests.support.admin_fixtures import make_conversation

KEYS = "/admin/accounts/apikey/"
LISTS = [
    reverse(f"admin:llmchat_{name}_changelist") for name in ("conversation", "message")
]


@pytest.fixture
def operator(db: None, client: Client) -> Client:
    """The client of an operator who sees keys, conversations and messages, no users."""
    user = User.objects.create_user("operator", is_staff=True)
    names = ("view_apikey", "view_conversation", "view_message")
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(user)
    return client


def page_of(client: Client, url: str, **query: str) -> str:
    response = client.get(url, query)
    assert response.status_code == 200
    return response.content.decode()


def users_of(client: Client, url: str, **query: str) -> list[str]:
    """Return the users of the rows that a list shows."""
    response: Any = client.get(url, query)
    assert response.status_code == 200
    return sorted(row.user.username for row in response.context["cl"].result_list)


@pytest.mark.parametrize(
    "query",
    ["{key}", "{prefix}", "llmc_{prefix[5]}", "GET /x Authorization: Bearer {key} 200"],
)
def test_a_leaked_key_is_found_by_what_was_found_of_it(
    operator: Client, ann: User, query: str
) -> None:
    row, key = api_keys.create(user_id=ann.pk, name="leaked", scopes="chat")
    api_keys.revoke(row)
    ApiKey.objects.create(
        user=ann, name="other", scopes="chat", prefix="llmc_~~~~~~~", digest="x"
    )
    found = page_of(operator, KEYS, q=query.format(key=key, prefix=row.prefix))
    assert f"{KEYS}{row.pk}/change/" in found
    assert "llmc_~~~" not in found
    assert ">revoked<" in found.replace("\n", "").replace(" ", "")
    assert f"{KEYS}{row.pk}/change/" not in page_of(operator, KEYS, q=new_key())


def test_keys_are_found_by_name_and_user(operator: Client, ann: User) -> None:
    row, _ = api_keys.create(user_id=ann.pk, name="nightly", scopes="chat")
    for query in ("nightly", "ann"):
        assert row.prefix in page_of(operator, KEYS, q=query)
    assert row.prefix not in page_of(operator, KEYS, q="bob")


def test_who_views_no_users_filters_by_one_whom_they_can_name(
    operator: Client,
) -> None:
    for name in ("ann", "anna"):
        make_conversation(User.objects.create_user(name), title=f"Of {name}")

    for url in LISTS:
        page = page_of(operator, url)
        assert 'name="username"' in page
        assert 'data-field-name="user"' not in page
        assert set(users_of(operator, url, username="")) == {"ann", "anna"}
        assert set(users_of(operator, url, username=" ann ")) == {"ann"}
        assert users_of(operator, url, username="an") == []
    # The search is limited to the user, too, as it only looks at the latest messages.
    assert users_of(operator, LISTS[0], username="anna", q="Hello") == ["anna"]
    assert users_of(operator, LISTS[0], username="a\0", q="Hello") == []
    ann = str(User.objects.get(username="ann").pk)
    assert users_of(operator, LISTS[0], user__id__exact=ann) == ["ann"]


def test_who_may_view_users_chooses_one_from_a_list(admin_client: Client) -> None:
    for name in ("ann", "anna"):
        make_conversation(User.objects.create_user(name))
    page = page_of(admin_client, LISTS[0])
    assert 'data-field-name="user"' in page
    assert 'name="username"' not in page
    # A link from an operator who had to type the name works, too.
    assert users_of(admin_client, LISTS[0], username="ann") == ["ann"]
    assert 'value="ann"' in page_of(admin_client, LISTS[0], username="ann")
