"""Deletion of accounts and what belongs to them, without loading the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db import router, transaction
from django.db.models import Model, QuerySet
from django.db.models.deletion import Collector
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from accounts import audit
from accounts.models import User


def summary(
    objs: Any, model: type[Model]
) -> tuple[list[str], dict[str, int], set[str], list[str]]:
    """Return what the admin shows before a deletion: names, and counts by model.

    Django's own version loads and lists every row. Whoever may delete an account may
    delete what belongs to it, so that nothing is left behind; the audit alone stays.
    """
    collector = Collector(using=router.db_for_write(model), origin=objs)
    collector.collect(objs)
    counts: Counter[str] = Counter()
    found = [(kind, len(rows)) for kind, rows in collector.data.items()]
    found += [(rows.model, rows.count()) for rows in collector.fast_deletes]
    for kind, count in found:
        if kind is not LogEntry:
            counts[str(kind._meta.verbose_name_plural)] += count
    names = [str(obj) for obj in _some(objs)]
    return names, {kind: count for kind, count in counts.items() if count}, set(), []


def delete_users(users: QuerySet[User]) -> None:
    """Delete accounts with their conversations and tokens.

    The lock stops new turns meanwhile. A running stream finds that its row is deleted,
    and stops. `User.deleting` lets others lock what goes along, in their order. The
    accounts that keep the audit of others stay.
    """
    with transaction.atomic():
        # A list that is filtered by groups is distinct, and so cannot be locked itself.
        rows = User.objects.filter(pk__in=users.order_by().values("pk"))
        rows = rows.exclude(username__in=audit.KEEPERS)
        locked = rows.order_by("pk").select_for_update()
        idents = list(locked.values_list("pk", flat=True))
        User.deleting.send(User, user_ids=idents)
        audit.keep(idents)
        # Django would keep these rows, without a user.
        OutstandingToken.objects.filter(user_id__in=idents).delete()
        User.objects.filter(pk__in=idents).delete()


def _some(objs: Any, limit: int = 100) -> Iterable[Any]:
    return list(objs[:limit]) if isinstance(objs, QuerySet) else list(objs)[:limit]
