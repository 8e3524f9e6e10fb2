"""The classes and decorators of the theme, django-unfold, with correct types.

Its own annotations contradict Django's; the rest of this package imports from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ValidationError
from django.db.models import Field
from django.db.models.expressions import BaseExpression, Combinable
from django.forms.formsets import INITIAL_FORM_COUNT, TOTAL_FORM_COUNT
from django.utils.text import capfirst
from unfold import decorators

from llmchat.admin.lookups import RefusesLookups

if TYPE_CHECKING:
    from django.contrib import admin
    from django.forms.models import BaseInlineFormSet
    from django.http import HttpRequest
    from django.utils.functional import _StrOrPromise

    class ModelAdmin(RefusesLookups, admin.ModelAdmin[Any]):
        """Django's class with what the theme adds."""

        def get_actions_submit_line(
            self, request: HttpRequest, object_id: object
        ) -> list[Any]: ...

    StackedInline = admin.StackedInline[Any, Any]
    _TabularInline = admin.TabularInline[Any, Any]
    _PagedFormSet = BaseInlineFormSet[Any, Any, Any]
else:
    from unfold.admin import ModelAdmin as _ModelAdmin
    from unfold.admin import StackedInline
    from unfold.admin import TabularInline as _TabularInline
    from unfold.forms import PaginationInlineFormSet as _PagedFormSet

    class ModelAdmin(RefusesLookups, _ModelAdmin):
        """The theme's class, without its errors for ids that no row can have."""

        def response_action(self, request, queryset):
            """Run an action, ignoring such ids in the selection."""
            field = self.opts.pk
            data = request.POST.copy()
            selected = data.getlist(ACTION_CHECKBOX_NAME)
            possible = [value for value in selected if _is_possible(field, value)]
            data.setlist(ACTION_CHECKBOX_NAME, possible)
            request.POST = data
            return super().response_action(request, queryset)

        def get_changelist_formset(self, request, **kwargs):
            """Label each field of a row with the name of its column."""
            return _named(super().get_changelist_formset(request, **kwargs))


class TabularInline(_TabularInline):
    """The theme's class, with labels for fields, which only the columns' heads have."""

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """Label each field with the name of its column."""
        return _named(super().get_formset(request, obj, **kwargs))


class PagedFormSet(_PagedFormSet):
    """The theme's formset in pages; if its forms are not posted, it changes nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        prefix, data = kwargs.get("prefix"), kwargs.get("data")
        if data is not None and f"{prefix}-{TOTAL_FORM_COUNT}" not in data:
            none = dict.fromkeys((TOTAL_FORM_COUNT, INITIAL_FORM_COUNT), 0)
            posted = {f"{prefix}-{name}": count for name, count in none.items()}
            kwargs["data"] = posted
        super().__init__(*args, **kwargs)


def _named(formset: Any) -> Any:
    """Label the fields of a table with the names that its head shows."""
    for name, field in formset.form.base_fields.items():
        if not field.widget.is_hidden:
            label = field.label or name.replace("_", " ")
            field.widget.attrs.setdefault("aria-label", capfirst(label))
    return formset


def _is_possible(field: Field[Any, Any], value: str) -> bool:
    try:
        found = field.to_python(value)
    except ValidationError:
        return False
    return not isinstance(found, int) or found.bit_length() < 64


__all__ = [
    "ModelAdmin",
    "PagedFormSet",
    "StackedInline",
    "TabularInline",
    "action",
    "display",
]

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
    """Display a column as a label; `label` maps values to colors."""
    look: Any = decorators.display
    decorate: Callable[[F], F] = look(
        description=description, label=label, ordering=ordering
    )
    return decorate
