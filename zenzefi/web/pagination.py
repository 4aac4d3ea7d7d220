"""What all long lists of the pages share: which part is asked for, and the pager's address."""

from __future__ import annotations

from urllib.parse import urlencode

from zenzefi.web import view_models
from zenzefi.web.page import Page

ROWS = 25
"""Rows of one page of a list."""


def offset(page: Page) -> int:
    """The number of rows before the part that is asked for."""
    return view_models.offset_of(page.request.query.get("offset", ""))


def asked(page: Page, name: str) -> str:
    """One filter, as it was typed."""
    return page.request.query.get(name, "").strip()[:254]


def base(path: str, **filters: str) -> str:
    """The address that the pager adds its offset to."""
    kept = {name: value for name, value in filters.items() if value}
    return f"{path}?{urlencode(kept)}&" if kept else f"{path}?"
