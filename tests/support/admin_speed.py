"""How long the admin's pages take with very many messages, uncached.

`python -m tests.support.admin_speed [COUNT]` runs a PostgreSQL of its own, fills it (a
million messages take some minutes) and prints the fastest and the slowest of some
requests for each page, in milliseconds.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.postgres import running_postgres

_TIMES = 5


def pages() -> Iterator[tuple[str, str]]:
    """Yield the name and the address of each page; the database is filled."""
    from llmchat.admin.conversations import ConversationAdmin
    from llmchat.models import Conversation, Message
    from tests.support.many import COMMON, RARE

    conversations, messages = (
        f"/admin/llmchat/{name}/" for name in ("conversation", "message")
    )
    row = Conversation.objects.order_by("-updated_at")[100]
    answer = Message.objects.filter(conversation=row, role="assistant").first()
    assert answer is not None
    last = Conversation.objects.count() // ConversationAdmin.list_per_page
    today = datetime.now(UTC).date()
    since = f"created_at_from={today - timedelta(days=89)}&created_at_to={today}"
    for days in (1, 7, 30, 90):
        yield f"front page, {days} days", f"/admin/?days={days}"
    yield "conversations", conversations
    yield "conversations, last page", f"{conversations}?p={last}"
    yield "conversations of a user", f"{conversations}?user__id__exact={row.user_id}"
    yield "conversations of a provider", f"{conversations}?provider=claude"
    for outcome in ("length", "failed", "interrupted", "cancelled"):
        yield f"conversations, {outcome}", f"{conversations}?outcome={outcome}"
    yield "conversations by cost", f"{conversations}?o=8"
    for name, text in (
        ("a common word", COMMON),
        ("a rare word", RARE),
        ("no such word", "xylophone"),
        ("a phrase", '"light tower"'),
        ("a user", "many-7"),
        ("an id", str(answer.pk)),
    ):
        yield f"search for {name}", f"{conversations}?q={text}"
    yield "conversation", f"{conversations}{row.pk}/change/"
    yield "message", f"{messages}{answer.pk}/change/"
    yield "messages", messages
    for outcome in ("ended", "length", "failed", "interrupted", "cancelled"):
        yield f"messages, {outcome}, 90 days", f"{messages}?outcome={outcome}&{since}"
    yield "messages, length", f"{messages}?outcome=length"
    yield "messages, reason length", f"{messages}?finish_reason=length"
    yield "messages of a user", f"{messages}?user__id__exact={row.user_id}"
    yield "messages of a model", f"{messages}?outcome=ended&model=model-3&{since}"
    yield "messages, not priced", f"{messages}?outcome=ended&cost__isnull=True&{since}"
    yield "streaming now", "/admin/llmchat/runningstream/"


def measure() -> Iterator[tuple[str, list[float]]]:
    """Yield each page and how many milliseconds it took, time after time."""
    from django.core.cache import cache
    from django.test import Client

    from accounts.models import User

    boss = User.objects.filter(username="boss").first()
    client = Client(SERVER_NAME="localhost")
    client.force_login(boss or User.objects.create_superuser("boss"))
    for name, address in pages():
        taken = []
        for _ in range(_TIMES):
            cache.clear()
            began = time.perf_counter()
            response: Any = client.get(address)
            assert response.status_code == 200, (address, response.status_code)
            taken.append(1000 * (time.perf_counter() - began))
        yield name, taken


def main(count: int) -> None:
    """Fill a database and measure the pages on it."""
    with running_postgres() as url:
        os.environ["LLMCHAT_TEST_DATABASE_URL"] = url
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        import django
        from django.core.management import call_command

        django.setup()
        from tests.support.many import fill

        call_command("migrate", verbosity=0)
        fill(count)
        for name, taken in measure():
            print(f"{name:40} {min(taken):6.0f} {max(taken):6.0f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
