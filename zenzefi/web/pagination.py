"""Pagination of long lists: the requested part, its filters, and the links of the pager."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode

from zenzefi.web.page import PageContext

ROWS = 25
"""Rows per page of a list for administrators."""

_ItemT = TypeVar("_ItemT")


@dataclass(frozen=True, slots=True)
class ListPage(Generic[_ItemT]):
    """One page of a long list."""

    items: list[_ItemT]
    total: int
    limit: int
    offset: int

    @property
    def first(self) -> int:
        """Position of the first row shown, counted from 1; 0 if there is none."""
        return self.offset + 1 if self.items else 0

    @property
    def last(self) -> int:
        """Position of the last row shown."""
        return self.offset + len(self.items)

    @property
    def previous(self) -> int | None:
        """Offset of the previous page."""
        return None if self.offset == 0 else max(0, self.offset - self.limit)

    @property
    def next(self) -> int | None:
        """Offset of the next page."""
        return self.last if self.last < self.total else None


def offset(page: PageContext) -> int:
    """Number of rows before the requested page; 0 if the parameter is invalid."""
    query = page.request.query.get("offset", "")
    return min(int(query), 10**7) if query.isascii() and query.isdigit() and len(query) < 9 else 0


def filter_value(page: PageContext, name: str) -> str:
    """Value of one filter, as it was typed."""
    return page.request.query.get(name, "").strip()[:254]


def pager_url(path: str, **filters: str) -> str:
    """URL to which the pager adds its offset."""
    kept = {name: value for name, value in filters.items() if value}
    return f"{path}?{urlencode(kept)}&" if kept else f"{path}?"
