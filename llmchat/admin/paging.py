"""Pages of long lists: the last one costs no more than the first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet

from llmchat.admin.lookups import FilteredList

if TYPE_CHECKING:
    _Paginator = Paginator[Any]
else:  # Django's own class takes no parameters
    _Paginator = Paginator

# Up to this many rows before a page, skipping them is faster than finding its start.
_FEW = 300
# How many rows with the same value are searched for the one that the page begins with.
_ALIKE = 100


class NearerEnd(_Paginator):
    """A paginator that finds a page from the nearer end of the list.

    To skip the rows before a page, the database reads them, with the rows joined to
    them. So a first query asks where the page begins, which an index alone can answer.
    """

    object_list: QuerySet[Any]

    def page(self, number: int | str) -> Page[Any]:
        """Return a page, with its rows read."""
        number = self.validate_number(number)
        first = (number - 1) * self.per_page
        last = min(first + self.per_page, self.count)
        rows, is_late = self.object_list, first > self.count - last
        if is_late:
            rows = rows.reverse()
            first, last = self.count - last, self.count - first
        found = _read(rows, first, last)
        return Page(found[::-1] if is_late else found, number, self)


def _read(rows: QuerySet[Any], first: int, last: int) -> list[Any]:
    if first < _FEW:
        return list(rows[first:last])
    if (name := _ordered_by(rows)) is not None:
        return _by_value(rows, name, first, last)
    return _by_id(rows, first, last)


def _ordered_by(rows: QuerySet[Any]) -> str | None:
    """Return the field that the rows are ordered by, if it is never null."""
    by = rows.query.order_by[0] if rows.query.order_by else None
    if not isinstance(by, str):
        return None
    fields = {field.name: field for field in rows.model._meta.concrete_fields}
    field = fields.get(by.removeprefix("-"))
    is_plain = field is not None and not field.null and not field.is_relation
    return by if is_plain else None


def _by_value(rows: QuerySet[Any], by: str, first: int, last: int) -> list[Any]:
    """Read the rows from the first one's value of the field on."""
    name = by.removeprefix("-")
    alone = rows.order_by(by).values_list(name, flat=True)
    *before, value = alone[first - _ALIKE : first + 1] or [None]
    if len(before) < _ALIKE:  # the list is shorter than it was when it was counted
        return []
    alike = before.count(value)
    if alike == _ALIKE:
        return _by_id(rows, first, last)
    is_falling = by.startswith("-") == rows.query.standard_ordering
    rest = rows.filter(**{f"{name}__{'lte' if is_falling else 'gte'}": value})
    return list(rest[alike : alike + last - first])


def _by_id(rows: QuerySet[Any], first: int, last: int) -> list[Any]:
    ids = list(rows.values_list("pk", flat=True)[first:last])
    found = {row.pk: row for row in rows.filter(pk__in=ids).order_by()}
    return [found[pk] for pk in ids if pk in found]


class PageList(FilteredList):
    """A list that computes each link only once.

    The theme asks for the links of the headers again for every cell.
    """

    def get_query_string(
        self,
        new_params: dict[str, Any] | None = None,
        remove: Iterable[str] | None = None,
    ) -> str:
        """Return the query of a link, from memory if it was computed before."""
        known: dict[str, str] = self.__dict__.setdefault("_query_strings", {})
        remove = list(remove or ())
        key = repr((new_params, remove))
        if key not in known:
            known[key] = super().get_query_string(new_params, remove)
        return known[key]
