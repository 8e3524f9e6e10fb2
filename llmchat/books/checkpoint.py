"""The text so far of the answers that a process writes, and their leases."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from llmchat.books.turn import LEASE, Progress, storable
from llmchat.models import Message


def checkpoint(progress: Sequence[Progress]) -> set[UUID]:
    """Store the text so far and renew the leases; return the streams to stop.

    Those are the ones that an operator has stopped and the ones whose row is gone.
    """
    lease_until = timezone.now() + LEASE
    wanted = {item.message_id for item in progress}
    rows = Message.objects.filter(pk__in=wanted)
    going = set(rows.filter(stop_requested=False).values_list("pk", flat=True))
    running = rows.filter(state=Message.State.STREAMING)
    with transaction.atomic():
        # In the order in which a deletion locks them.
        list(running.order_by("pk").select_for_update().values_list("pk"))
        for item in progress:
            if item.text is not None:
                running.filter(pk=item.message_id).update(
                    content=storable(item.text), first_token_at=item.first_token_at
                )
        running.update(lease_until=lease_until)
    return wanted - going
