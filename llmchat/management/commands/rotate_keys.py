"""`manage.py rotate_keys`: re-encrypt the provider keys with the first key."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.template.defaultfilters import pluralize

from accounts import audit
from llmchat.access import rotation
from llmchat.models import ProviderKey


class Command(BaseCommand):
    """Re-encrypt the provider keys; skip those that cannot be decrypted."""

    help = (
        "Re-encrypt the stored provider keys with the first of "
        "LLMCHAT_ENCRYPTION_KEYS. Afterwards, the other encryption keys can be removed."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Re-encrypt the keys, and note it in the history in the same transaction."""
        with transaction.atomic():
            rotated = rotation.rotate()
            count = len(rotated.keys)
            keys = f"{count} provider key{pluralize(count)}"
            if rotated.keys:
                audit.note_command(ProviderKey, f"rotate_keys: re-encrypted {keys}")
        self.stdout.write(f"Re-encrypted {keys}.")
        if rotated.unread:
            unread = ", ".join(f"{key.pk} ({why})" for key, why in rotated.unread)
            raise CommandError(
                "Some provider keys cannot be decrypted, so keep all encryption keys: "
                f"{unread}"
            )
