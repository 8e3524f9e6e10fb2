"""System checks of the project's own settings, run by `manage.py check`.

llmchat.E001   no encryption key, so provider keys cannot be stored
llmchat.E002   an invalid encryption key
llmchat.E003   a timeout that is longer than the total timeout
llmchat.E004   provider keys are in use, but no stored one can be decrypted
llmchat.W001   debug is on together with a production setting
llmchat.W002   stored provider keys that no encryption key decrypts

Django runs the registered checks before every command, and aborts the command if one
finds an error. Everyday commands, and those that fix such an error, can do their work
in spite of it. So the checks that find errors run in `manage.py check` only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cryptography.fernet import Fernet
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.checks.registry import registry
from django.db import DatabaseError

from llmchat import conf
from llmchat.models import ProviderKey, encryption


def check_encryption_keys(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Check that the encryption keys are set and valid."""
    keys = conf.get().encryption_keys
    if not keys and not settings.DEBUG:
        return [
            Error(
                "LLMCHAT_ENCRYPTION_KEYS is not set",
                hint="`make install` writes one into a new .env.",
                id="llmchat.E001",
            )
        ]
    return [
        Error(
            f"LLMCHAT_ENCRYPTION_KEYS: key {number} is not a Fernet key",
            hint="A Fernet key is 32 bytes in URL-safe base64, 44 characters long.",
            id="llmchat.E002",
        )
        for number, key in enumerate(keys, start=1)
        if not _is_fernet_key(key)
    ]


@register(Tags.security)
def check_stored_keys(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Check that every stored provider key can be decrypted."""
    rows = _stored_keys()
    unread = [
        str(row.pk) for row in rows if not encryption.is_readable(row.encrypted_value)
    ]
    if not unread:
        return []
    # A warning, not an error: the commands and the server that fix it must run.
    return [
        Warning(
            f"LLMCHAT_ENCRYPTION_KEYS does not decrypt {len(unread)} of {len(rows)}"
            f" stored provider keys (numbers {', '.join(unread)})",
            hint="Add the key that they were encrypted with. They are kept as they"
            " are; you can enter new values in the admin instead.",
            id="llmchat.W002",
        )
    ]


def check_any_key_is_readable(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Check that some stored key can be decrypted, if any of them is enabled."""
    rows = _stored_keys()
    if not any(row.enabled for row in rows):
        return []
    if any(encryption.is_readable(row.encrypted_value) for row in rows):
        return []
    return [
        Error(
            "LLMCHAT_ENCRYPTION_KEYS does not decrypt any of the stored provider keys:"
            " it is wrong or missing",
            hint="Set it to the key that they were encrypted with.",
            id="llmchat.E004",
        )
    ]


def _stored_keys() -> list[ProviderKey]:
    try:
        return list(ProviderKey.objects.order_by("pk"))
    except DatabaseError:
        return []  # no database yet, or not migrated


def _is_fernet_key(key: str) -> bool:
    try:
        Fernet(key)
    except ValueError:
        return False
    return True


def check_timeouts(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Check that no timeout is longer than the total one."""
    values = conf.get()
    return [
        Error(
            f"LLMCHAT_{name.upper()} is longer than LLMCHAT_TOTAL_TIMEOUT_S",
            id="llmchat.E003",
        )
        for name in ("connect_timeout_s", "first_token_timeout_s", "idle_timeout_s")
        if getattr(values, name) > values.total_timeout_s
    ]


@register(Tags.security, deploy=True)
def check_debug(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Check that debug is off where HTTPS is configured."""
    if settings.DEBUG and (
        settings.SECURE_SSL_REDIRECT or settings.SECURE_HSTS_SECONDS
    ):
        return [
            Warning(
                "DJANGO_DEBUG is on together with the HTTPS settings of production",
                id="llmchat.W001",
            )
        ]
    return []


_OF_CHECK_ALONE = {
    check_encryption_keys: [Tags.security],
    check_any_key_is_readable: [Tags.security],
    check_timeouts: [],
}


@contextmanager
def all_registered() -> Iterator[None]:
    """Register the checks that find errors, too, for the `with` block of `check`."""
    for check, tags in _OF_CHECK_ALONE.items():
        register(check, *tags)
    try:
        yield
    finally:
        registry.registered_checks.difference_update(_OF_CHECK_ALONE)
