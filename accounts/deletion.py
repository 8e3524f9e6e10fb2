"""Deletion of accounts and all that belongs to them, without loading the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db import router, transaction
from django.db.models import Model, QuerySet
from django.db.models.deletion import Collector
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from accounts import audit
from accounts.errors import UnfinishedError
from accounts.models import User


def summary(
    objs: Any, model: type[Model], *, counted: bool = True
) -> tuple[list[str], dict[str, int], set[str], list[str]]:
    """Return what the admin shows before a deletion: names, and counts by model.

    Django's own version loads and lists every row. An operator who is allowed to delete
    an account may delete all that belongs to it, so that nothing is left over except
    the audit. Counting may take long, so with `counted=False` there are no counts:
    after the confirmation, nobody reads them.
    """
    names = [str(obj) for obj in _some(objs)]
    if not counted:
        return names, {}, set(), []
    collector = Collector(using=router.db_for_write(model), origin=objs)
    collector.collect(objs)
    counts: Counter[str] = Counter()
    found = [(kind, len(rows)) for kind, rows in collector.data.items()]
    found += [(rows.model, rows.count()) for rows in collector.fast_deletes]
    for kind, count in found:
        if kind is not LogEntry:
            counts[str(kind._meta.verbose_name_plural)] += count
    return names, {kind: count for kind, count in counts.items() if count}, set(), []


def empty(
    users: QuerySet[User],
    *,
    by: int | None = None,
    note: Callable[[User], object] | None = None,
) -> None:
    """Deactivate accounts that are to be deleted, and delete what belongs to them.

    The rows are deleted in steps, which may take several requests. The accounts are
    deactivated so that nothing new begins in them in the meantime, except `by`, a user
    who deletes their own account: deactivated, it could not continue the deletion.
    `note` is called for each account that is deactivated, in the same transaction.

    Raises: UnfinishedError, if more requests are needed.
    """
    with transaction.atomic():
        found = list(_locked(users).only("pk", "username", "is_active"))
        for user in found:
            if user.is_active and user.pk != by:
                user.is_active = False
                # Saved one by one: the signals of `save` notify all workers.
                user.save(update_fields=["is_active"])
                if note is not None:
                    note(user)
    idents = [user.pk for user in found]
    deleted: list[Any] = [
        result for _, result in User.emptying.send(User, user_ids=idents)
    ]
    if left := sum(result.left for result in deleted):
        raise UnfinishedError(sum(result.done for result in deleted), left)


def delete_emptied(users: QuerySet[User]) -> None:
    """Delete accounts, and all that still belongs to them, in one transaction.

    The lock stops new turns until the commit. A running stream finds that its row is
    deleted, and stops. `User.deleting` lets receivers lock what is deleted with the
    accounts, in the order that they use. The accounts that keep the audit stay.
    """
    with transaction.atomic():
        idents = list(_locked(users).values_list("pk", flat=True))
        User.deleting.send(User, user_ids=idents)
        audit.keep(idents)
        # Django would keep these rows, with no user.
        OutstandingToken.objects.filter(user_id__in=idents).delete()
        User.objects.filter(pk__in=idents).delete()


def _locked(users: QuerySet[User]) -> QuerySet[User]:
    # A list that is filtered by groups uses DISTINCT, and so cannot be locked directly.
    rows = User.objects.filter(pk__in=users.order_by().values("pk"))
    rows = rows.exclude(username__in=audit.KEEPERS)
    return rows.order_by("pk").select_for_update()


def _some(objs: Any, limit: int = 100) -> Iterable[Any]:
    return list(objs[:limit]) if isinstance(objs, QuerySet) else list(objs)[:limit]
