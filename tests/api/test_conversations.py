"""A user's conversations over REST, in the process of the tests."""

from __future__ import annotations

import pytest
from django.test import Client
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from accounts.models import User
from accounts.tokens import issue_tokens

LIST = "/llm/conversations"


@pytest.mark.django_db(transaction=True)
def test_a_user_who_was_deleted_elsewhere_creates_none(client: Client) -> None:
    """This process still remembers the user for a second."""
    user = User.objects.create_user("ann")
    headers = {"authorization": f"Bearer {issue_tokens(user=user).access}"}
    assert client.get(LIST, headers=headers).status_code == 200
    OutstandingToken.objects.filter(user=user).delete()
    rows = User.objects.filter(pk=user.pk)
    rows._raw_delete(rows.db)  # sends no signal in this process

    answer = client.post(LIST, {}, content_type="application/json", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
