"""Provider keys under an old encryption key: counted, and re-encrypted."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.test import Client

from accounts.models import User
from llmchat.access import rotation
from llmchat.models import Provider, ProviderKey, Revision
from tests.support.databases import is_waited_for
from tests.support.provider_forms import messages_of
from tests.support.provider_keys import CANARY, configure, stored

LIST = "/admin/llmchat/providerkey/"
ENCRYPT = "/admin/llmchat/providerkey/encrypt/"
NEW = Fernet.generate_key().decode()


@pytest.fixture
def old(settings: Any) -> str:
    """The encryption key that is in use before `NEW` is put in front of it."""
    (key,) = settings.LLMCHAT["encryption_keys"]
    return str(key)


def page(client: Client) -> str:
    return " ".join(client.get(LIST).content.decode().split())


def test_the_list_counts_the_keys_under_an_old_encryption_key(
    boss: Client, provider: Provider, settings: Any, old: str
) -> None:
    assert "encryption key" not in page(boss)
    stored(provider)
    assert "All keys are encrypted with the current encryption key." in page(boss)

    configure(settings, NEW, old)
    stored(provider)
    assert "1 of 2 keys is still encrypted with an old encryption key." in page(boss)
    assert rotation.count() == rotation.Counts(total=2, old=1, unreadable=0)

    configure(settings, NEW)
    assert "1 key cannot be decrypted" in page(boss)
    assert "still encrypted" not in page(boss)


def test_the_button_encrypts_them_anew(
    boss: Client, provider: Provider, settings: Any, old: str
) -> None:
    key = stored(provider)
    configure(settings, NEW, old)
    current = stored(provider, "sk-another-0123456789")
    response = boss.post(ENCRYPT, follow=True)

    text = "Encrypted 1 key with the current encryption key."
    assert messages_of(response) == [text]
    configure(settings, NEW)
    assert ProviderKey.objects.get(pk=key.pk).reveal() == CANARY
    before = current.encrypted_value
    assert ProviderKey.objects.get(pk=current.pk).encrypted_value == before
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.change_message) == (
        str(key.pk),
        "Encrypted with the current encryption key.",
    )
    assert "All keys are encrypted" in response.content.decode()


def by_button(boss: Client) -> None:
    boss.post(ENCRYPT)


def by_command(_: Client) -> None:
    call_command("rotate_keys", stdout=io.StringIO())


@pytest.mark.parametrize(
    ("encrypt", "noting"),
    [
        (by_button, "llmchat.admin.keys.log_all"),
        (by_command, "accounts.audit.note_command"),
    ],
)
def test_what_cannot_be_noted_stays_as_it_is(
    boss: Client,
    provider: Provider,
    settings: Any,
    old: str,
    monkeypatch: pytest.MonkeyPatch,
    encrypt: Callable[[Client], None],
    noting: str,
) -> None:
    before = stored(provider).encrypted_value
    configure(settings, NEW, old)

    def fail(*_: object, **__: object) -> None:
        raise DatabaseError

    monkeypatch.setattr(noting, fail)
    with pytest.raises(DatabaseError):
        encrypt(boss)
    assert ProviderKey.objects.get().encrypted_value == before


def test_what_cannot_be_decrypted_is_left_and_told(
    boss: Client, provider: Provider, settings: Any
) -> None:
    key = stored(provider)
    configure(settings, NEW)
    response = boss.post(ENCRYPT, follow=True)

    said = "1 key cannot be decrypted with LLMCHAT_ENCRYPTION_KEYS."
    assert messages_of(response) == [said]
    before = key.encrypted_value
    assert ProviderKey.objects.get(pk=key.pk).encrypted_value == before


def test_a_link_encrypts_nothing(
    boss: Client, provider: Provider, settings: Any, old: str
) -> None:
    stored(provider)
    configure(settings, NEW, old)

    assert boss.get(ENCRYPT).status_code == 405
    assert rotation.count().old == 1


def test_who_may_only_look_encrypts_nothing(
    provider: Provider, client: Client, settings: Any, old: str
) -> None:
    stored(provider)
    configure(settings, NEW, old)
    operator = User.objects.create_user("operator", is_staff=True)
    operator.user_permissions.set(
        Permission.objects.filter(codename="view_providerkey")
    )
    client.force_login(operator)

    assert "Encrypt with the current key" not in page(client)
    assert client.post(ENCRYPT).status_code == 403
    assert rotation.count().old == 1


@pytest.mark.skipif(connection.vendor == "sqlite", reason="it has one writer at a time")
def test_who_notes_a_refused_key_meanwhile_is_waited_for(
    provider: Provider, other_connection: Any, settings: Any, old: str
) -> None:
    """That transaction locks the revision first, and then needs the key's row.

    So a rotation that waits for the revision must not have locked the row.
    """
    key = stored(provider)
    configure(settings, NEW, old)
    with other_connection.cursor() as cursor, ThreadPoolExecutor(1) as threads:
        revision = Revision._meta.db_table
        cursor.execute(f"SELECT 1 FROM {revision} FOR UPDATE")
        rotating = threads.submit(rotate_in_thread)
        while not is_waited_for(cursor, revision):
            assert not rotating.done()
        keys = ProviderKey._meta.db_table
        cursor.execute(f"SELECT 1 FROM {keys} FOR UPDATE NOWAIT")
        other_connection.rollback()
        assert [one.pk for one in rotating.result().keys] == [key.pk]


def rotate_in_thread() -> rotation.Rotated:
    try:
        return rotation.rotate()
    finally:
        connection.close()
