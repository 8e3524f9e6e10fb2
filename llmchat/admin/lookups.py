"""What a list may be filtered by: its own filters, and the parameters of links to it.

Django filters by any field of a row, even one that no column shows: an operator who may
see the list could find out its value letter by letter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.http import HttpRequest
from unfold.views import ChangeList

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    _ModelAdmin = ModelAdmin[Any]
else:
    _ModelAdmin = object


class FilteredList(ChangeList):
    """A list that refuses to be filtered by anything else."""

    model_admin: RefusesLookups

    def get_filters(self, request: HttpRequest) -> Any:
        """Return the filters; refuse a parameter that belongs to none of them."""
        found = super().get_filters(request)
        taken_by_none = found[2]
        if not self.model_admin.linked_by.issuperset(taken_by_none):
            raise IncorrectLookupParameters
        return found


class RefusesLookups(_ModelAdmin):
    """An admin with such a list. List it before the theme's class."""

    # Parameters of links on our own pages for which the list has no filter.
    linked_by: frozenset[str] = frozenset()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Return the class that reads a page of the list."""
        return FilteredList
