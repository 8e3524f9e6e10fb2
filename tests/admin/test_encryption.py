"""Rotation of the encryption keys, and what a wrong one breaks."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError
from django.db.models.signals import pre_save
from django.test import Client

from llmchat import checks
from llmchat.models import Provider, ProviderKey
from tests.support.provider_keys import CANARY, configure, post_provider, stored

LIST = "/admin/llmchat/providerkey/"


def test_rotation_encrypts_with_the_first_key(
    provider: Provider, settings: Any
) -> None:
    (old,) = settings.LLMCHAT["encryption_keys"]
    new = Fernet.generate_key().decode()
    key = stored(provider)
    configure(settings, new, old)

    output = io.StringIO()
    call_command("rotate_keys", stdout=output)

    assert output.getvalue() == "Re-encrypted 1 provider key.\n"
    configure(settings, new)
    assert ProviderKey.objects.get(pk=key.pk).reveal() == CANARY


def test_rotation_leaves_what_it_cannot_read_and_says_so(
    provider: Provider, settings: Any
) -> None:
    (old,) = settings.LLMCHAT["encryption_keys"]
    unread = stored(provider)
    new = Fernet.generate_key().decode()
    configure(settings, new)
    read = stored(provider)

    with pytest.raises(CommandError, match=rf"keep all encryption keys: {unread.pk} "):
        call_command("rotate_keys", stdout=io.StringIO())

    assert ProviderKey.objects.get(pk=read.pk).reveal() == CANARY
    configure(settings, old)
    assert ProviderKey.objects.get(pk=unread.pk).reveal() == CANARY


@pytest.mark.parametrize("keys", [(), (Fernet.generate_key().decode(),)])
def test_a_check_names_the_keys_that_nothing_decrypts(
    provider: Provider, settings: Any, keys: tuple[str, ...]
) -> None:
    key = stored(provider)
    assert checks.check_stored_keys(None) == []
    configure(settings, *keys)

    (message,) = checks.check_stored_keys(None)

    assert message.id == "llmchat.W002"
    assert not message.is_serious()
    assert f"1 of 1 stored provider keys (numbers {key.pk})" in message.msg


def checked() -> None:
    call_command("check", stdout=io.StringIO(), stderr=io.StringIO())


def test_only_check_fails_over_a_wrong_encryption_key(
    provider: Provider, settings: Any
) -> None:
    key = stored(provider)
    checked()
    configure(settings, Fernet.generate_key().decode())

    with pytest.raises(
        SystemCheckError, match=r"llmchat\.E004.* does not decrypt any of"
    ):
        checked()
    for command in ("migrate", "create_demo"):
        call_command(command, skip_checks=False, verbosity=0, stdout=io.StringIO())
    with pytest.raises(CommandError, match="keep all encryption keys"):
        call_command("rotate_keys", skip_checks=False, stdout=io.StringIO())
    key.enabled = False
    key.save()
    checked()


def test_one_key_that_cannot_be_read_fails_no_check(
    provider: Provider, settings: Any
) -> None:
    (old,) = settings.LLMCHAT["encryption_keys"]
    stored(provider)
    configure(settings, Fernet.generate_key().decode())
    stored(provider)

    checked()
    configure(settings, old)
    checked()


def test_saving_under_a_wrong_encryption_key_loses_nothing(
    boss: Client, provider: Provider, settings: Any
) -> None:
    key = stored(provider)
    data = {"provider": provider.pk, "name": "renamed", "value": "", "enabled": "on"}
    configure(settings, Fernet.generate_key().decode())
    boss.post(f"{LIST}{key.pk}/change/", data)

    saved = ProviderKey.objects.get()
    assert saved.name == "renamed"
    assert saved.encrypted_value == key.encrypted_value
    front = boss.get("/admin/").content.decode()
    assert "cannot be decrypted" in front


@contextmanager
def rotated_meanwhile(settings: Any) -> Iterator[None]:
    """Rotate the keys after a form has read its row and before it writes it."""
    (old,) = settings.LLMCHAT["encryption_keys"]
    new = Fernet.generate_key().decode()

    def rotate(**kwargs: Any) -> None:
        pre_save.disconnect(rotate, sender=ProviderKey)
        configure(settings, new, old)
        call_command("rotate_keys", stdout=io.StringIO())

    pre_save.connect(rotate, sender=ProviderKey)
    try:
        yield
    finally:
        assert not pre_save.disconnect(rotate, sender=ProviderKey), "nothing saved"
    configure(settings, new)


def test_a_rotation_is_not_undone_by_the_key_s_page(
    boss: Client, provider: Provider, settings: Any
) -> None:
    key = stored(provider)
    with rotated_meanwhile(settings):
        boss.post(f"{LIST}{key.pk}/change/", {"name": "renamed", "enabled": "on"})

    key.refresh_from_db()
    assert (key.name, key.reveal()) == ("renamed", CANARY)


def test_a_rotation_is_not_undone_by_the_provider_s_page(
    boss: Client, provider: Provider, settings: Any
) -> None:
    key = stored(provider, last_error="provider_auth")
    with rotated_meanwhile(settings):
        post_provider(boss, provider, key, name="renamed")

    key.refresh_from_db()
    assert (key.name, key.reveal()) == ("renamed", CANARY)
    assert key.last_error == "provider_auth"
