"""The roles of the people who run the product: groups that migrations keep up to date.

The permissions of a new model are given by the migration that adds the model. None is
given twice, so a permission that an operator takes from a group is not given back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.apps import AppConfig
from django.apps import apps as installed
from django.db import transaction

_Wants = Callable[[str], bool]

_BUDGETS = frozenset(
    f"llmchat.{verb}_{model}"
    for verb in ("add", "change", "delete", "view")
    for model in ("budget", "price")
)
_OWNERS = frozenset({"accounts.view_user", "accounts.view_apikey", "auth.view_group"})
_SUPPORT = frozenset(
    f"llmchat.view_{model}" for model in ("conversation", "message", "runningstream")
)
_BILLING = frozenset(
    {"llmchat.view_usage", "llmchat.view_provider", "llmchat.view_providermodel"}
)
# Not `change_user`: it would let them set passwords.
_OPERATOR = frozenset({"accounts.change_apikey", "admin.view_logentry"})


def _for_operators(permission: str) -> bool:
    is_own = permission.startswith("llmchat.")
    return is_own or permission in _OPERATOR | _OWNERS


ROLES: dict[str, _Wants] = {
    "Operator": _for_operators,
    "Support": _SUPPORT.__contains__,
    "Billing": (_BUDGETS | _BILLING | _OWNERS).__contains__,
}


def on_migrate(
    sender: AppConfig, using: str, apps: Any = installed, **kwargs: Any
) -> None:
    """Give the roles their permissions; called by Django for each migrated application.

    It is also called after a flush. Only the call for the last application acts: by
    then all applications have their permissions.
    """
    last = [app for app in installed.get_app_configs() if app.models_module][-1]
    if sender.label != last.label:
        return
    try:
        roles = apps.get_model("llmchat", "ShippedRole")
    except LookupError:  # migrated back to before the model existed
        return
    with transaction.atomic(using=using):
        _give(roles.objects.using(using), apps, using)


def _give(roles: Any, apps: Any, using: str) -> None:
    groups = apps.get_model("auth", "Group").objects.using(using)
    permissions = apps.get_model("auth", "Permission").objects.using(using)
    fields = ("pk", "content_type__app_label", "codename")
    known = {f"{app}.{name}": pk for pk, app, name in permissions.values_list(*fields)}
    for name, wants in ROLES.items():
        role = roles.filter(name=name).first()
        if role is None:
            is_taken = groups.filter(name=name).exists()
            group = None if is_taken else groups.create(name=name)
            role = roles.create(name=name, group=group)
        if role.group_id is None:
            continue
        given = role.given.split()
        new = sorted(filter(wants, known.keys() - set(given)))
        if new:
            role.group.permissions.add(*(known[permission] for permission in new))
            role.given = "\n".join([*given, *new])
            role.save(update_fields=["given"])
