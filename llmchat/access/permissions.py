"""Which providers and models a user may use.

A provider without permissions of its own is everybody's. Superusers use them all.
"""

from __future__ import annotations

from collections import defaultdict
from fnmatch import fnmatchcase

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group

from llmchat.errors import refusal
from llmchat.models import ProviderAccess

ALL = ("*",)


def require(user_id: int, provider: str, model: str) -> None:
    """Check that a user may ask this model of this provider.

    Raises: ChatError `permission_denied`.
    """
    patterns = allowed_models(user_id, provider).get(provider, ALL)
    if not patterns:
        raise refusal("permission_denied", text="You may not use this provider")
    if not any(fnmatchcase(model, pattern) for pattern in patterns):
        raise refusal("permission_denied", text="You may not use this model")


def permits(user_id: int, provider: str, model: str) -> bool:
    """Return whether a user may ask this model of this provider."""
    patterns = allowed_models(user_id, provider).get(provider, ALL)
    return any(fnmatchcase(model, pattern) for pattern in patterns)


def allowed_models(user_id: int, *providers: str) -> dict[str, tuple[str, ...]]:
    """Return the models that a user may use of the providers that are not everybody's.

    Patterns by the provider's name, none where the user may not use it at all.
    `providers` limits the answer to those named.
    """
    rows = ProviderAccess.objects.select_related("provider")
    if providers:
        rows = rows.filter(provider__name__in=providers)
    access = list(rows)
    if not access or _is_superuser(user_id):
        return {}
    groups = set(Group.objects.filter(user=user_id).values_list("pk", flat=True))
    allowed: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for row in access:
        allowed[row.provider.name] += row.patterns if row.group_id in groups else ()
    return dict(allowed)


def named_models(default: str, patterns: tuple[str, ...]) -> list[str]:
    """Return the models that are known by name and allowed, the default one first."""
    names = [default] if any(fnmatchcase(default, p) for p in patterns) else []
    named = (p for p in patterns if not any(sign in p for sign in "*?["))
    return list(dict.fromkeys([*names, *named]))


def _is_superuser(user_id: int) -> bool:
    users = get_user_model().objects.filter(pk=user_id, is_superuser=True)
    return users.exists()
