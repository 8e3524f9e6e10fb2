"""The classes and decorators of the theme, django-unfold, with correct types.

Its own annotations contradict Django's; the rest of this package imports from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from django.db.models.expressions import BaseExpression, Combinable
from unfold import decorators

if TYPE_CHECKING:
    from django.contrib import admin
    from django.http import HttpRequest
    from django.utils.functional import _StrOrPromise

    class ModelAdmin(admin.ModelAdmin[Any]):
        """Django's class with what the theme adds."""

        def get_actions_submit_line(
            self, request: HttpRequest, object_id: object
        ) -> list[Any]: ...

    TabularInline = admin.TabularInline[Any, Any]
else:
    from unfold.admin import ModelAdmin, TabularInline

__all__ = ["ModelAdmin", "TabularInline", "action", "display"]

F = TypeVar("F", bound=Callable[..., Any])


def action(
    *, description: _StrOrPromise, permissions: Sequence[str]
) -> Callable[[F], F]:
    """Declare a method as an action of a list or a form."""
    look: Any = decorators.action
    decorate: Callable[[F], F] = look(description=description, permissions=permissions)
    return decorate


def display(
    *,
    description: _StrOrPromise,
    label: Mapping[Any, str],
    ordering: str | Combinable | BaseExpression | None = None,
) -> Callable[[F], F]:
    """Display a column as a label; `label` maps values to colours."""
    look: Any = decorators.display
    decorate: Callable[[F], F] = look(
        description=description, label=label, ordering=ordering
    )
    return decorate
