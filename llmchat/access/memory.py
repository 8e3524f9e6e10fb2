"""Rows that hardly change, remembered until their revision changes.

They are the providers with their keys, models, prices and fallbacks, the permissions,
and which kinds of budgets exist. Each use reads the revision, so an operator's change
takes effect with the next turn in every process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmchat.models import Budget, Provider, ProviderAccess, ProviderModel
from llmchat.models.budgets import OF_EACH
from llmchat.models.revision import current_revision


@dataclass(frozen=True, slots=True)
class Permission:
    """The models of a restricted provider that a group may use."""

    provider: str
    group_id: int
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered; many threads read the rows, and none changes them."""

    revision: str | None
    providers: Mapping[str, Provider]
    permissions: tuple[Permission, ...]
    restricted: frozenset[str]
    has_budgets: bool
    has_group_budgets: bool
    has_budgets_of_each: bool

    @property
    def needs_groups(self) -> bool:
        """Whether anything depends on the groups of a user."""
        return bool(self.permissions) or self.has_group_budgets


_remembered: Memory | None = None


def current() -> Memory:
    """Return the rows as they are now."""
    global _remembered
    revision = current_revision()
    known = _remembered
    if known is None or revision is None or known.revision != revision:
        # Read after the revision: a change in between brings another revision, and so
        # the next use reads the rows again.
        known = _remembered = _read(revision)
    return known


def latest() -> Memory:
    """Return the rows as this process last read them."""
    return _remembered or current()


def latest_revision() -> str | None:
    """Return the revision that this process last read the rows at."""
    return _remembered.revision if _remembered else None


def _read(revision: str | None) -> Memory:
    rows = list(Provider.objects.prefetch_related("keys", "known_models__prices"))
    by_id = {row.pk: row for row in rows}
    for row in rows:
        row.fallback = by_id.get(row.fallback_id or 0)
        _use_canonical_names(row)
    granted = ProviderAccess.objects.filter(provider__restricted=True)
    return Memory(
        revision,
        {row.name: row for row in rows},
        tuple(_permission(by_id, row) for row in granted if row.provider_id in by_id),
        frozenset(row.name for row in rows if row.restricted),
        has_budgets=Budget.objects.exists(),
        has_group_budgets=Budget.objects.exclude(group=None).exists(),
        has_budgets_of_each=Budget.objects.filter(OF_EACH).exists(),
    )


def _use_canonical_names(row: Provider) -> None:
    """Give the models of a remembered provider their canonical names, as requests do.

    If a model has rows under two names, one that is enabled counts.
    """
    default = row.canonical(row.default_model)
    # If the names differ, the default model may have a row of a fetched list that is
    # disabled although no operator has disabled it.
    is_enabled = default != row.default_model
    row.default_model = default
    found = {}
    for model in sorted(row.known_models.all(), key=lambda model: _weight(row, model)):
        model.name = row.canonical(model.name)
        model.enabled |= is_enabled and model.name == default
        found[model.name] = model
    row.model_rows = found


def _weight(row: Provider, model: ProviderModel) -> tuple[bool, bool]:
    return model.enabled, model.name == row.canonical(model.name)


def _permission(providers: Mapping[int, Provider], row: ProviderAccess) -> Permission:
    name = providers[row.provider_id].name
    return Permission(name, row.group_id, row.patterns)
