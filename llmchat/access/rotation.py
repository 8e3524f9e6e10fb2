"""Which encryption key the provider keys are stored under, and how to change it."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from llmchat.models import ProviderKey, encryption
from llmchat.models.revision import revise


@dataclass(frozen=True, slots=True)
class Counts:
    """The stored keys: all of them, those under an older encryption key, and those
    that no encryption key decrypts."""

    total: int
    old: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class Rotated:
    """The keys that were encrypted again, and the errors of those that were not."""

    keys: tuple[ProviderKey, ...]
    unread: tuple[tuple[ProviderKey, str], ...]


def count() -> Counts:
    """Count the stored keys."""
    stored = list(ProviderKey.objects.values_list("encrypted_value", flat=True))
    others = [value for value in stored if not encryption.is_current(value)]
    readable = sum(map(encryption.is_readable, others))
    return Counts(len(stored), readable, len(others) - readable)


def rotate() -> Rotated:
    """Encrypt with the first encryption key all keys that are under an older one."""
    done: list[ProviderKey] = []
    unread: list[tuple[ProviderKey, str]] = []
    with transaction.atomic():
        revise()  # its lock comes first
        # Not joined with the providers, which must not be locked.
        for key in ProviderKey.objects.select_for_update().order_by("pk"):
            if encryption.is_current(key.encrypted_value):
                continue
            try:
                key.encrypted_value = encryption.rotate(key.encrypted_value)
            except encryption.EncryptionError as exc:
                unread.append((key, str(exc)))
                continue
            key.save(update_fields=["encrypted_value"])
            done.append(key)
    return Rotated(tuple(done), tuple(unread))
