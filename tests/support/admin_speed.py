"""Measure how long the admin's pages take with very many messages, uncached.

`python -m tests.support.admin_speed [COUNT]` starts a PostgreSQL of its own, fills it
(a million messages take some minutes) and prints, for each page, the fastest and the
slowest of some requests in milliseconds, and the CPU time and the queries of one. With
`--kept DIRECTORY`, the database is kept in that directory and reused the next time.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.postgres import running_postgres

_TIMES = 5


def pages() -> Iterator[tuple[str, str]]:
    """Yield the name and the address of each page; the database must be filled."""
    from llmchat.admin.conversations import ConversationAdmin
    from llmchat.admin.messages import MessageAdmin
    from llmchat.models import Conversation, Message
    from tests.support.many import COMMON, RARE

    conversations, messages = (
        f"/admin/llmchat/{name}/" for name in ("conversation", "message")
    )
    row = Conversation.objects.order_by("-updated_at")[100]
    answer = Message.objects.filter(conversation=row, role="assistant").first()
    assert answer is not None
    last = Conversation.objects.count() // ConversationAdmin.list_per_page
    pages_of_messages = Message.objects.count() // MessageAdmin.list_per_page
    today = datetime.now(UTC).date()
    since = f"created_at_from={today - timedelta(days=89)}&created_at_to={today}"
    for days in (1, 7, 30, 90):
        yield f"front page, {days} days", f"/admin/?days={days}"
    yield "conversations", conversations
    yield "conversations, middle page", f"{conversations}?p={last // 2}"
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
    yield "messages, middle page", f"{messages}?p={pages_of_messages // 2}"
    yield "messages, last page", f"{messages}?p={pages_of_messages}"
    for outcome in ("ended", "length", "failed", "interrupted", "cancelled"):
        yield f"messages, {outcome}, 90 days", f"{messages}?outcome={outcome}&{since}"
    yield "messages, length", f"{messages}?outcome=length"
    yield "messages, reason length", f"{messages}?finish_reason=length"
    yield "messages of a user", f"{messages}?user__id__exact={row.user_id}"
    yield "messages of a model", f"{messages}?outcome=ended&model=model-3&{since}"
    yield "messages, not priced", f"{messages}?outcome=ended&cost__isnull=True&{since}"
    yield "streaming now", "/admin/llmchat/runningstream/"
    yield from _managed()


def _managed() -> Iterator[tuple[str, str]]:
    """Yield the list of each kind of row that operators manage, a search and a row."""
    from django.contrib.auth.models import Group

    from accounts.models import ApiKey, User
    from llmchat.models import Budget, Provider, ProviderKey, ProviderModel

    for model in (Provider, ProviderModel, ProviderKey, Budget, ApiKey, User, Group):
        name = str(model._meta.verbose_name_plural)
        address = f"/admin/{model._meta.label_lower.replace('.', '/')}/"
        row = model._default_manager.order_by("pk").last()
        assert row is not None, name
        yield name, address
        yield f"search of {name}", f"{address}?q=many-7"
        yield f"one of {name}", f"{address}{row.pk}/change/"


@dataclass(slots=True)
class Taken:
    """How long each request for a page took, and what one request cost.

    `cpu` is the processor time of one request in this process and in the database
    process of its connection; the database may have used others besides. All times are
    in milliseconds.
    """

    times: list[float]
    cpu: float
    queries: int


def measure() -> Iterator[tuple[str, Taken]]:
    """Yield the name of each page, and what it takes."""
    from django.core.cache import cache
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from accounts.models import User
    from serving import garbage

    boss = User.objects.filter(username="boss").first()
    client = Client(SERVER_NAME="localhost")
    client.force_login(boss or User.objects.create_superuser("boss"))
    client.get("/admin/llmchat/provider/")  # reads the templates
    garbage.settle()  # as the server does after its start
    backend = _backend()
    for name, address in pages():
        times = []
        began_cpu = _cpu_ms(backend)
        for _ in range(_TIMES):
            cache.clear()
            began = time.perf_counter()
            response: Any = client.get(address)
            assert response.status_code == 200, (address, response.status_code)
            times.append(1000 * (time.perf_counter() - began))
        cpu = (_cpu_ms(backend) - began_cpu) / _TIMES
        cache.clear()
        with CaptureQueriesContext(connection) as asked:
            client.get(address)
        yield name, Taken(times, cpu, len(asked))


def _backend() -> int:
    """Return the id of the database process that serves this one's connection."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def _cpu_ms(backend: int) -> float:
    fields = Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return 1000 * (time.process_time() + ticks / os.sysconf("SC_CLK_TCK"))


def main(count: int, kept: Path | None) -> None:
    """Fill the database unless it is filled already, and measure the pages on it."""
    with running_postgres(kept) as url:
        os.environ["LLMCHAT_TEST_DATABASE_URL"] = url
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        import django
        from django.core.management import call_command

        django.setup()
        from llmchat.books import day_totals
        from llmchat.models import Message
        from tests.support.many import fill, furnish

        call_command("migrate", verbosity=0)
        if not Message.objects.exists():
            fill(count)
        furnish()
        day_totals.keep()
        print(f"{'':40} fastest slowest    CPU queries")
        for name, taken in measure():
            fastest, slowest = min(taken.times), max(taken.times)
            figures = (
                f"{fastest:7.0f} {slowest:7.0f} {taken.cpu:6.0f} {taken.queries:7}"
            )
            print(f"{name:40} {figures}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--kept", type=Path, metavar="DIRECTORY")
    given = parser.parse_args()
    main(given.count, given.kept)
