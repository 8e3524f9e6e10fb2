"""`manage.py rotate_keys`: encrypt the provider keys under the first key."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts import audit
from llmchat.models import ProviderKey, encryption


class Command(BaseCommand):
    """Re-encrypt every provider key; skip those that cannot be decrypted."""

    help = (
        "Re-encrypt the stored provider keys with the first of "
        "LLMCHAT_ENCRYPTION_KEYS. Afterwards the others can be dropped."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Re-encrypt the keys in one transaction."""
        unread: list[str] = []
        rotated = 0
        with transaction.atomic():
            for key in ProviderKey.objects.select_for_update().order_by("pk"):
                try:
                    key.encrypted_value = encryption.rotate(key.encrypted_value)
                except encryption.EncryptionError as exc:
                    unread.append(f"{key.pk} ({exc})")
                    continue
                key.save(update_fields=["encrypted_value"])
                rotated += 1
            if rotated:
                said = f"rotate_keys: encrypted {rotated} keys anew"
                audit.note_command(ProviderKey, said)
        self.stdout.write(f"Re-encrypted {rotated} provider keys.")
        if unread:
            raise CommandError(f"Skipped, do not drop a key yet: {', '.join(unread)}")
