"""Which providers and models a user may use.

Everyone may use a provider that is not restricted. Only the members of its groups may
use a restricted one, each group with its own list of models. Superusers may use
everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group

from llmchat.access import memory
from llmchat.access.memory import Memory
from llmchat.errors import refusal
from llmchat.models import Provider

_ALL: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True)
class Access:
    """What one user may use: patterns of models by provider name.

    A provider that is missing here is not allowed.
    """

    models: Mapping[str, tuple[str, ...]]

    def patterns(self, provider: str) -> tuple[str, ...]:
        """Return the patterns of the models that may be used; empty for none."""
        return self.models.get(provider, ())

    def allows(self, row: Provider, model: str) -> bool:
        """Return whether the user may use this model of this provider."""
        return any(row.is_meant(model, p) for p in self.patterns(row.name))

    def singles_out(self, row: Provider, model: str) -> bool:
        """Return whether a pattern other than "*" means this model."""
        patterns = (p for p in self.patterns(row.name) if row.canonical(p) != "*")
        return any(row.is_meant(model, p) for p in patterns)

    def require(self, row: Provider, model: str) -> None:
        """Check that the user may use this model of this provider.

        Raises: ChatError `permission_denied`.
        """
        if not self.patterns(row.name):
            raise refusal("permission_denied", text="You may not use this provider")
        if not self.allows(row, model):
            raise refusal("permission_denied", text="You may not use this model")

    def named_models(self, row: Provider) -> list[str]:
        """Return the allowed models that are known by name, the default first."""
        literal = (p for p in self.patterns(row.name) if not set(p) & set("*?["))
        named = dict.fromkeys([row.default_model, *map(row.canonical, literal)])
        return [name for name in named if self.allows(row, name)]


def access_of(user_id: int) -> Access:
    """Return what a user may use now."""
    known = memory.current()
    if not known.restricted:
        return access(known)
    users = get_user_model().objects.filter(pk=user_id, is_superuser=True)
    is_superuser = users.filter(is_active=True).exists()
    groups = Group.objects.filter(user=user_id).values_list("pk", flat=True)
    return access(known, is_superuser=is_superuser, groups=frozenset(groups))


def access(
    known: Memory, *, is_superuser: bool = False, groups: Set[int] = frozenset()
) -> Access:
    """Return what an active user in these groups may use."""
    models = dict.fromkeys(known.providers, _ALL)
    if is_superuser or not known.restricted:
        return Access(models)
    models.update(dict.fromkeys(known.restricted, ()))
    for granted in known.permissions:
        if granted.group_id in groups:
            models[granted.provider] += granted.patterns
    return Access(models)
