"""Addresses and selections with ids that no row can have are the sender's fault."""

from __future__ import annotations

import pytest
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import reverse

from accounts.models import User
from llmchat.models import Conversation

pytestmark = pytest.mark.django_db

# 200, because PostgreSQL compares ids with numbers of any length, and finds nothing.
REFUSED = (200, 302, 400)
NO_IDS = ["x", "1.5", "nan", "9" * 19, "9" * 30]


@pytest.mark.parametrize("ident", NO_IDS)
@pytest.mark.parametrize("name", ["accounts_user", "auth_group"])
def test_a_forged_selection(admin_client: Client, name: str, ident: str) -> None:
    url = reverse(f"admin:{name}_changelist")
    data = {"action": "delete_selected", "_selected_action": ident, "post": "yes"}

    response = admin_client.post(url, data)

    assert response.status_code in REFUSED
    if response.status_code == 400:
        assert "contains an invalid value" in response.content.decode()
    assert User.objects.exists()


@pytest.mark.parametrize("ident", NO_IDS)
@pytest.mark.parametrize("model", [User, Conversation])
def test_the_page_on_the_site_of_no_row(
    admin_client: Client, model: type[User | Conversation], ident: str
) -> None:
    kind = ContentType.objects.get_for_model(model).pk

    assert admin_client.get(f"/admin/r/{kind}/{ident}/").status_code in (*REFUSED, 404)


@pytest.mark.parametrize(
    "path",
    [
        "accounts/user/?id__in=99999999999999999999",
        "accounts/user/?last_login__year=-1",
        "accounts/user/?last_login__year=9999999999999999999",
        "auth/group/?user__exact=99999999999999999999",
        "llmchat/budget/?user__exact=99999999999999999999",
        "llmchat/budget/add/?user=x",
        "llmchat/budget/add/?group=99999999999999999999",
        "llmchat/conversation/?user__exact=99999999999999999999",
        "llmchat/provider/?id__in=99999999999999999999",
        "search/?s=ab&page=x&extended=1",
        "search/?s=ab&page=-1&extended=1",
    ],
)
def test_an_address_that_means_no_row(admin_client: Client, path: str) -> None:
    assert admin_client.get(f"/admin/{path}").status_code in REFUSED


def test_a_form_that_means_no_row(admin_client: Client) -> None:
    form = {"user": "x", "group": "1.5", "limit": "nan", "period": "x", "unit": "x"}

    assert admin_client.post("/admin/llmchat/budget/add/", form).status_code == 400
