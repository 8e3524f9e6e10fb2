"""`manage.py rotate_keys`: re-encrypt the provider keys with the first key."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts import audit
from llmchat.access import rotation
from llmchat.models import ProviderKey


class Command(BaseCommand):
    """Re-encrypt the provider keys; skip those that cannot be decrypted."""

    help = (
        "Re-encrypt the stored provider keys with the first of "
        "LLMCHAT_ENCRYPTION_KEYS. Afterwards the others can be dropped."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Re-encrypt the keys, and note it in the history in the same transaction."""
        with transaction.atomic():
            rotated = rotation.rotate()
            if rotated.keys:
                said = f"rotate_keys: encrypted {len(rotated.keys)} keys anew"
                audit.note_command(ProviderKey, said)
        self.stdout.write(f"Re-encrypted {len(rotated.keys)} provider keys.")
        if rotated.unread:
            unread = ", ".join(f"{key.pk} ({why})" for key, why in rotated.unread)
            raise CommandError(f"Skipped, do not drop a key yet: {unread}")
