"""Mapped heads of pages that are requested again and again.

A page that has not changed comes with the same head each time, except for its ``Date``. If the
engine maps equal heads alike, the mapped head is stored and used for the next response, whose body
is a new one (:meth:`~zenzefi.rewriting.planned.PlannedBody.begin`). A request is
equal if it has the same header block, which one :class:`KnownRequest` stands for, and the same
target.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from multidict import CIMultiDictProxy

from zenzefi.bounded import BoundedDict
from zenzefi.proxy.rewriter import BodyTransform, MappedResponse, ResponseHead

Map = Callable[[], MappedResponse]
_Key = tuple[int, bytes, bytes, bool, tuple[tuple[bytes, bytes], ...]]

_MAX_HEADS = 512
_MAX_FIELDS = 32  # of a head that is kept
_DATE = re.compile(rb"[ -~]{1,40}")  # RFC 9110, 5.6.7: any of its forms


class _Kept(NamedTuple):
    """A mapped head."""

    sent: CIMultiDictProxy[str]
    """The headers of the request, which no other request has while this is kept."""
    mapped: MappedResponse
    again: Callable[[], BodyTransform]
    date: int
    """The index of its ``Date`` among the mapped headers, -1 without one."""


class MappedHeads:
    """The mapped heads of one generation of plugins."""

    def __init__(self) -> None:
        self._kept: BoundedDict[_Key, _Kept] = BoundedDict(_MAX_HEADS)

    def clear(self) -> None:
        """Remove all heads, because the rewriting has changed."""
        self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)

    def map(
        self, sent: CIMultiDictProxy[str], target: bytes, head: ResponseHead, map_head: Map
    ) -> MappedResponse:
        """The mapped head of a response with status 200 to a GET of a known header block.

        ``sent``: the headers of the block; ``map_head`` maps a head that is not kept. Raises what
        it raises.
        """
        fields = head.headers
        dates = [pair for pair in fields if len(pair[0]) == 4 and pair[0].lower() == b"date"]
        if len(dates) > 1 or len(fields) > _MAX_FIELDS:
            return map_head()
        date = dates[0] if dates else None
        if date is not None and not _DATE.fullmatch(date[1]):
            return map_head()
        # The position of the Date among the others makes no difference.
        others = [pair for pair in fields if pair is not date]
        key = id(sent), target, head.reason, date is None, tuple(others)
        kept = self._kept.get(key)
        if kept is not None and kept.sent is sent:
            headers = kept.mapped.headers.copy()
            if date is not None:
                headers[kept.date] = date
            return kept.mapped._replace(headers=headers, rewrite=kept.again())
        mapped = map_head()
        if mapped.again is not None and (date is None or date in mapped.headers):
            at = -1 if date is None else mapped.headers.index(date)
            self._kept[key] = _Kept(sent, mapped._replace(rewrite=None), mapped.again, at)
        return mapped
