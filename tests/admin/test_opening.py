"""A provider is opened for everyone while somebody else adds a group to it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client

from llmchat.models import Provider, ProviderAccess, Revision
from tests.support.databases import is_waited_for
from tests.support.provider_forms import change_url, submit


@pytest.mark.skipif(connection.vendor == "sqlite", reason="it has one writer at a time")
def test_a_group_that_somebody_else_is_adding_is_waited_for(
    boss: Client, provider: Provider, other_connection: Any
) -> None:
    Provider.objects.filter(pk=provider.pk).update(restricted=True)
    group = Group.objects.create(name="red team")
    access, revision = ProviderAccess._meta.db_table, Revision._meta.db_table

    def opened() -> str:
        try:
            saved = submit(boss, change_url(provider), restricted=None)
            return saved.content.decode()
        finally:
            connection.close()

    with other_connection.cursor() as cursor, ThreadPoolExecutor(1) as threads:
        cursor.execute(f"SELECT 1 FROM {revision} FOR UPDATE")
        cursor.execute(
            f"INSERT INTO {access} (provider_id, group_id, allowed_models) "
            "VALUES (%s, %s, '')",
            [provider.pk, group.pk],
        )
        saving = threads.submit(opened)
        while not is_waited_for(cursor, revision):
            assert not saving.done()
        other_connection.commit()
        assert "Everyone may use this provider, so" in saving.result()
    provider.refresh_from_db()
    assert provider.restricted
