"""The admin's pages with many messages: few queries, none of which reads them all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from llmchat.models import Message
from tests.support.admin_speed import pages
from tests.support.many import fill, furnish

# More than a search returns. Plans depend on the number of rows, and are checked on
# PostgreSQL only.
MESSAGES = 50_000 if connection.vendor == "postgresql" else 3_000
# The front page has a query for each of its parts, and Streaming now sweeps first.
MOST_QUERIES = 28
# The counts of an unfiltered list, and of all answers, read an index as a whole.
_COUNTS = re.compile(r"^SELECT COUNT\(\*\)")


@pytest.fixture(scope="module")
def _filled(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        fill(MESSAGES)
        furnish()
        yield
        # Deleting row by row, as with users, would take as long as the test.
        call_command("flush", verbosity=0, interactive=False, reset_sequences=False)


@pytest.fixture
def client_of_boss(_filled: None, db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def test_each_page_takes_few_queries_and_reads_few_messages(
    client_of_boss: Client,
) -> None:
    for name, address in pages():
        cache.clear()
        with CaptureQueriesContext(connection) as asked:
            assert client_of_boss.get(address).status_code == 200, name
        assert len(asked) <= MOST_QUERIES, (name, [q["sql"][:160] for q in asked])
        # All of these messages are of the last 90 days, so those may be scanned.
        if connection.vendor == "postgresql" and "90 days" not in name:
            for query in asked.captured_queries:
                _check_plan(name, query["sql"])


def _check_plan(name: str, sql: str) -> None:
    """Check that a query does not scan the table of messages, unless it counts."""
    if not sql.startswith("SELECT") or "llmchat_message" not in sql:
        return
    if _COUNTS.match(sql):
        return
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql.replace('%', '%%')}")
        (plan,) = cursor.fetchone()
    plan = json.loads(plan) if isinstance(plan, str) else plan
    scans = [
        node
        for node in _nodes(plan[0]["Plan"])
        if node["Node Type"] == "Seq Scan"
        and node["Relation Name"] == Message._meta.db_table
    ]
    assert not scans, (name, sql, scans)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)
