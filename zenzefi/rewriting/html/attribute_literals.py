"""The upstream's origin in attributes that hold no URL by the standard.

Scripts read them: ``onclick``, ``data-*``, ``hx-get``, the content of ``<meta>``, attributes of
custom elements, ``javascript:`` URLs, JSON and markup in attributes. At a root mount no script of
the gate maps what they read. Under a prefix it is mapped when it is used, but scripts compare it
with ``location`` before. So every mention of the upstream's origin in them is an address, and it is
found as in scripts (:mod:`zenzefi.rewriting.literals`). Names of namespaces stay. Under a prefix
the values of form controls stay, too: the page sends them back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from zenzefi.origin import Mount, Origin
from zenzefi.rewriting.edits import Edit
from zenzefi.rewriting.html import syntax
from zenzefi.rewriting.html.references import decode
from zenzefi.rewriting.html.table import address_syntax
from zenzefi.rewriting.literals import OriginFinder

_TAG_OR_COMMENT = re.compile(syntax.COMMENT.pattern + b"|" + syntax.START_TAG.pattern)
_SCRIPT_URL = re.compile(r"[\x00-\x20]*j\s*a\s*v\s*a\s*s\s*c\s*r\s*i\s*p\s*t\s*:", re.I)
_BEGINNING = 256  # bytes in which "javascript:" is looked for
_MOST = 4000  # attributes of one tag


class AttributeLiterals:
    """Finds these mentions in the tags of one document."""

    def __init__(self, origins: Iterable[Origin], mount: Mount) -> None:
        self._finder = OriginFinder(origins, mount)
        self._skipped = b"" if mount.is_root else b"value"

    def may_be_in(self, window: bytes) -> bool:
        """Whether the window has a mention at all: most pages have none."""
        return next(self._finder.find(window), None) is not None

    def in_run(self, run: re.Match[bytes]) -> Iterator[Edit]:
        """The edits for the tags in a run of HTML; its group is a URL that is mapped already."""
        group = run.lastindex or 0
        if group and not _SCRIPT_URL.match(decode(run[group][:_BEGINNING])):
            rest = run[0][: run.start(group) - run.start()], run[0][run.end(group) - run.start() :]
        else:
            rest = run[0], b""
        if not any(map(self.may_be_in, rest)):
            return
        for tag in _TAG_OR_COMMENT.finditer(run.string, *run.span()):
            if tag[1] is not None:
                yield from self.in_tag(tag, (), in_foreign=False)

    def in_tag(
        self, tag: re.Match[bytes], done: Iterable[Edit], *, in_foreign: bool
    ) -> Iterator[Edit]:
        """The edits for one start tag, except where ``done`` has one."""
        if not self.may_be_in(tag[0]):
            return
        taken = [(edit.start, edit.end) for edit in done]
        element = tag[1].lower()
        attributes = [*islice(syntax.attributes(tag.string, tag.end(1), tag.end() - 1), _MOST)]
        if element == b"meta":
            attributes = _without_directives(attributes)
        for name, group, found in attributes:
            if group == 1 or name.startswith(b"xmlns") or name == self._skipped:
                continue
            is_mapped = address_syntax(element, name, in_foreign=in_foreign) is not None
            if is_mapped and not _SCRIPT_URL.match(decode(found[group][:_BEGINNING])):
                continue
            start, end = found.span(group)
            if any(start < other_end and other < end for other, other_end in taken):
                continue
            for spelled in self._finder.find(found[group]):
                is_whole = spelled.scheme and spelled.end - spelled.start == len(found[group])
                is_origin = spelled.is_origin or bool(is_whole)
                edit = self._finder.edit(spelled._replace(is_origin=is_origin))
                yield Edit(start + edit.start, start + edit.end, edit.new)


_Attribute = tuple[bytes, int, re.Match[bytes]]


def _without_directives(attributes: list[_Attribute]) -> list[_Attribute]:
    """The attributes of ``<meta>``; the content of a directive has its own syntax (``refresh``)."""
    is_directive = any(name == b"http-equiv" for name, _, _ in attributes)
    return [each for each in attributes if not (is_directive and each[0] == b"content")]
