"""What a list may be filtered by: its filters, and what links to it ask for.

Django filters by any field of a row, also one that no column shows: whoever may see the
list could ask for its value letter by letter.
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
        """Return the filters, and what none of them takes of the query."""
        found = super().get_filters(request)
        taken_by_none = found[2]
        if not self.model_admin.linked_by.issuperset(taken_by_none):
            raise IncorrectLookupParameters
        return found


class RefusesLookups(_ModelAdmin):
    """Has such a list. Listed before the theme's class."""

    # What links of our own pages filter by, though the list has no filter for it.
    linked_by: frozenset[str] = frozenset()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Return what reads a page of the list."""
        return FilteredList
