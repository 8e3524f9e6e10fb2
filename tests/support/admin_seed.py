"""Fills a server's database with one of everything that the admin has a page for.

`python -m tests.support.admin_seed` prints the addresses of the pages: those of rows
with the front page, and the others.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import django

MARKDOWN = """# A title

Some **bold** text, `code` and a [link](https://example.org).

```python
def named_at_length(argument_one, argument_two, argument_three): return argument_one
```

> quoted

- one
"""
LISTS = (
    *("llmchat_provider", "llmchat_providerkey", "llmchat_budget"),
    *("llmchat_runningstream", "admin_logentry"),
)
USED = {"input_tokens": 12, "output_tokens": 300, "usage_source": "provider"}


def main() -> None:
    """Fill the database and print the addresses."""
    django.setup()
    rows = fill()
    found = {"rows": [*addresses(rows)], "others": [*other_addresses()]}
    json.dump(found, sys.stdout)


def fill() -> list[Any]:
    """Store one of everything; return the rows that have a page of their own."""
    from django.contrib.auth.models import Group

    from accounts import api_keys
    from accounts.models import ApiKey, User
    from llmchat.models import Budget, Provider, ProviderAccess, ProviderKey

    user = User.objects.get(username="user0")
    group = Group.objects.get(name="Support")
    user.groups.add(group)
    key = ApiKey(user=user, name="the nightly report of the company", scopes="chat")
    api_keys.issue(key)
    for fields in (
        {"user": user, "period": "month", "unit": "dollars", "limit": 5},
        {"group": group, "period": "month", "unit": "tokens", "limit": 5_000_000},
        {"group": group, "period": "day", "limit": 500, "per_member": True},
        {"is_default": True, "period": "day", "unit": "tokens", "limit": 100},
        {"api_key": key, "period": "day", "unit": "dollars", "limit": Decimal("2.5")},
    ):
        budget = Budget.objects.create(**fields)
    openai = Provider.objects.get(name="openai")
    for name, error in (("main", ""), ("old", "provider_auth")):
        stored = ProviderKey(provider=openai, name=name, last_error=error)
        stored.set_value("sk-good-live-0123456789-wxyz")
        stored.save()
    openai.restricted = True
    openai.save()
    ProviderAccess.objects.create(provider=openai, group=group)
    models = openai.known_models.filter(name__in=("gpt-6-luna", "gpt-6.2-sol"))
    return [user, group, key, budget, openai, *models, *talks(user)]


def talks(user: Any) -> list[Any]:
    """Store conversations that ended in each way; return some, and a message."""
    from django.utils import timezone

    from llmchat.models import Message
    from llmchat.models.workers import Worker
    from tests.support.admin_fixtures import make_conversation

    asked, now = ("user", "Hello"), timezone.now()
    said = make_conversation(
        user, asked, ("assistant", MARKDOWN), finish_reason="stop", finished_at=now,
        cost=Decimal("0.0042"), **USED,
    )  # fmt: skip
    make_conversation(user, asked, ("assistant", "No price"), **USED)
    died = make_conversation(
        user, asked, ("assistant", "Half of"), state="interrupted",
        error_code="interrupted", error_detail="Its worker is gone.",
    )  # fmt: skip
    make_conversation(
        user, asked, ("assistant", "Cut"), finish_reason="length", **USED, cost=1
    )
    failed = {"state": "error", "error_code": "provider_timeout"}
    for _ in range(3):
        make_conversation(user, asked, ("assistant", ""), **failed)
    lease = now + timedelta(days=1)
    Worker.objects.create(name="elsewhere", lease_until=lease)
    runs = {"state": "streaming", "worker": "elsewhere"}
    running = make_conversation(user, asked, ("assistant", "Still"), **runs)
    answers = Message.objects.filter(role="assistant")
    return [said, running, answers.get(conversation=died)]


def addresses(rows: list[Any]) -> Iterator[str]:
    """Yield the addresses of the front page, and of pages of rows."""
    from django.urls import reverse

    yield reverse("admin:index") + "?days=7"
    for row in rows:
        meta = row._meta
        name = f"admin:{meta.app_label}_{meta.model_name}_change"
        yield reverse(name, args=[row.pk])
    yield reverse("admin:accounts_user_delete", args=[rows[0].pk])
    yield reverse("admin:auth_user_password_change", args=[rows[0].pk])


def other_addresses() -> Iterator[str]:
    """Yield the addresses of lists, and of a form for a new row."""
    from django.urls import reverse

    for name in LISTS:
        yield reverse(f"admin:{name}_changelist")
    yield reverse("admin:llmchat_conversation_changelist") + "?q=bold"
    yield reverse("admin:llmchat_provider_add") + "?preset=ollama"


if __name__ == "__main__":
    main()
