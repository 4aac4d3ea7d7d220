"""A streaming XML reader that finds URLs and maps them in place.

It parses leniently (invalid markup passes) and resolves URLs against ``xml:base`` and, in DASH
manifests, ``BaseURL``. The plugin's table defines which attributes and elements contain URLs; names
are compared without their namespace prefix.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from itertools import islice

from zenzefi.rewriting.css import rewrite_css
from zenzefi.rewriting.edits import Edit
from zenzefi.rewriting.microsyntax import map_animation, map_refresh, map_srcset
from zenzefi.rewriting.scanner import Scanner, rewrite_whole
from zenzefi.rewriting.url_map import UrlMap
from zenzefi.rewriting.xml_formats import XmlRules

_SPACE = b"\t\n\r "
_WORD = re.compile(rb"[^\t\n\r ]+")
_NAME = rb"[^\s/>=\"'<]+"
_TAG = re.compile(
    rb"<(?P<end>/?)(?P<name>(?>[A-Za-z_:\x80-\xff]%b))"
    rb"(?P<attributes>(?>(?:[^<>\"']+|\"[^\"<]*\"|'[^'<]*')*))>" % rb"[^\s/>=\"'<]*"
)
_ATTRIBUTE = re.compile(
    rb"(?<=[\s\"'])(?P<name>(?>%b))[\t\n\r ]*=[\t\n\r ]*"
    rb"(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)')" % _NAME
)
_OTHERS = (
    (b"<!--", b"-->"),
    (b"<![CDATA[", b"]]>"),
    (b"<?", b"?>"),
)
_DOCTYPE = re.compile(
    rb"<!DOCTYPE(?>[^\[>\"']+|\"[^\"]*\"|'[^']*')*"
    rb"(?:\[(?>[^\]\"']+|\"[^\"]*\"|'[^']*')*\]\s*)?>"
)
_HREF = re.compile(rb"\shref[\t\n\r ]*=[\t\n\r ]*(?:\"([^\"]*)\"|'([^']*)')")
_CDATA = re.compile(rb"((?>\s*))(?:<!\[CDATA\[(.*?)\]\]>)?((?>\s*))\Z", re.S)
_PARTS = re.compile(rb"<!\[CDATA\[(.*?)\]\]>|([^<]+)", re.S)
_STYLESHEET = b"<?xml-stylesheet"
# SVG's presentation attributes that may have a url().
_PRESENTATION = frozenset(
    b"fill stroke filter mask clip-path cursor marker marker-start marker-mid marker-end".split()
)
_LONGEST_TAG = 64 * 1024
_LONGEST_TEXT = 64 * 1024
_MOST = 1000
"""Attributes of one tag, or URLs in one value, that are mapped: more would block the event loop."""
_MOST_BASES = 64
"""Most levels of nested bases; deeper elements have the base of the last level."""


# --- how the characters of a span are read -------------------------------------------------------

_Read = Callable[[bytes], str]

_REFERENCE = re.compile(r"&(?:#(\d{1,7})|#x([0-9a-fA-F]{1,6})|(amp|lt|gt|quot|apos));")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_ESCAPES = {ord(char): f"&{name};" for name, char in _NAMED.items()}
_IN_TEXT = {ord("&"): "&amp;", ord("<"): "&lt;"}
_NEWLINES = str.maketrans("\t\n\r", "   ")


def _characters(raw: bytes) -> str:
    """In a CDATA section: unchanged."""
    return raw.decode("utf-8", "surrogateescape")


def _decoded(raw: bytes) -> str:
    """In an element's text."""
    text = raw.decode("utf-8", "surrogateescape")
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _in_attribute(raw: bytes) -> str:
    """In an attribute: white space is normalised (XML, 3.3.3), except in references."""
    text = raw.decode("utf-8", "surrogateescape").translate(_NEWLINES)
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _character(match: re.Match[str]) -> str:
    if match[3]:
        return _NAMED[match[3]]
    code = int(match[1]) if match[1] else int(match[2], 16)
    return chr(code) if 0 < code <= 0x10FFFF and not 0xD800 <= code < 0xE000 else match[0]


def _encoded(text: str, read: _Read) -> bytes:
    """The inverse of ``read``."""
    if read is not _characters:
        text = text.translate(_ESCAPES if read is _in_attribute else _IN_TEXT)
    return text.encode("utf-8", "surrogateescape")


@functools.lru_cache(maxsize=32)
def _patterns(rules: XmlRules) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """The patterns of text that passes unread, and of tags whose attributes may have URLs."""
    names = [re.escape(name.encode()) for name in rules.elements | {rules.base_element} if name]
    names += [b"style"] if rules.styles else []
    names += [b"script"] if rules.scripts else []
    prefix = rb"(?:[^\s<>/=:\"']*:)?"
    watched = rb"(?!%b(?:%b)[\s/>])" % (prefix, b"|".join(names)) if names else b""
    named = rules.attributes | rules.lists | rules.unprefixed | {name for _, name in rules.spaced}
    attributes = [re.escape(name.encode()) for name in named]
    attributes += [b"base", b"content"] + ([b"style", b"attributeName"] if rules.styles else [])
    some = rb"[\s:\"'](?:%b)\s*=" % b"|".join(attributes)
    url = rb"|(?i:url\()" if rules.styles else b""
    run = rb"(?>[^<]+|</[^<>]*>|<%b[A-Za-z_:\x80-\xff][^\s<>/=\"']*\s*/?>)*" % watched
    return re.compile(run), re.compile(some + url)


class XmlReader:
    """Reads one document; a scanner (``zenzefi.plugins.Scanner``)."""

    def __init__(
        self, rules: XmlRules, mapper: UrlMap, url: str, script: Callable[[], Scanner] | None = None
    ) -> None:
        self._rules = rules
        self._script = script
        self._mapper = mapper
        self._bases = [(0, url, False)]
        self._until = b""  # the end of a comment or its like that began in an earlier window
        self._has_doctype = False
        self._depth = 0
        self._names = {name.encode() for name in rules.elements | {rules.base_element} if name}
        self._names |= {b"style"} if rules.styles else set()
        self._names |= {b"script"} if rules.scripts and script is not None else set()
        self._run, self._telling = _patterns(rules)

    @property
    def _base(self) -> str:
        return self._bases[-1][1]

    def scan(self, window: bytes, final: bool) -> tuple[int, list[Edit]]:
        """``(settled, edits)``: everything up to the first unfinished tag."""
        edits: list[Edit] = []
        at = self._skip(window, 0)
        while not self._until:
            if len(self._bases) == 1:  # no levels to count: whole runs pass in C
                run = self._run.match(window, at)
                at = run.end() if run else at
            start = window.find(b"<", at)
            if start < 0:
                return len(window), edits
            end = self._one(window, start, final, edits)
            if end is None:
                if final:
                    return len(window), edits
                if len(window) - start > _LONGEST_TAG:
                    at = start + 1  # not a tag for any parser
                    continue
                return start, edits
            at = end
        return (len(window) if final else at), edits

    def _skip(self, window: bytes, at: int) -> int:
        """The position after the skipped markup, or up to which it certainly reaches."""
        if not self._until:
            return at
        end = window.find(self._until, at)
        if end < 0:
            return max(at, len(window) - len(self._until) + 1)
        end += len(self._until)
        self._until = b""
        return end

    def _one(self, window: bytes, start: int, final: bool, edits: list[Edit]) -> int | None:
        """Handle the markup at ``start``. Returns its end, or ``None`` if bytes are missing."""
        tag = _TAG.match(window, start)
        if tag is None:
            return self._no_tag(window, start, final, edits)
        name = tag["name"].rpartition(b":")[2]
        if tag["end"]:
            self._leave()
            return tag.end()
        empty = tag["attributes"].endswith(b"/")
        if not empty and name in self._names:
            close = window.find(b"<", tag.end())
            while close >= 0 and window.startswith(b"<![CDATA[", close):
                ending = window.find(b"]]>", close)
                close = window.find(b"<", ending) if ending >= 0 else -1
            short = len(window) - tag.end() < _LONGEST_TEXT
            cut = close < 0 or b"<![CDATA[".startswith(window[close : close + 9])
            if not final and short and cut:
                return None
            self._enter(name, tag, edits)
            if close >= 0 and window.startswith(b"</", close):
                self._text(name, window, tag.end(), close, edits)
                return close
            return tag.end()
        self._enter(name, tag, edits)
        if empty:
            self._leave()
        return tag.end()

    def _no_tag(self, window: bytes, start: int, final: bool, edits: list[Edit]) -> int | None:
        for opening, closing in _OTHERS:
            if window.startswith(opening, start):
                end = window.find(closing, start + len(opening))
                if opening == b"<?" and _STYLESHEET.startswith(window[start : start + 16]):
                    if end < 0 and len(window) - start < _LONGEST_TEXT:
                        return None
                    self._stylesheet(window, start, max(end, start), edits)
                self._until = closing
                return self._skip(window, start + len(opening))
            if opening.startswith(window[start : start + len(opening)]) and not final:
                return None
        mark = b"<!DOCTYPE"[: len(window) - start]
        if window.startswith(mark, start) and not self._has_doctype:
            doctype = _DOCTYPE.match(window, start)
            if doctype is None and len(window) - start < _LONGEST_TEXT:
                return None
            self._has_doctype = True  # there is at most one, and a failed match is expensive
            return doctype.end() if doctype else start + 1
        rest = window[start + 1 : start + 2]
        if not rest or rest.isalpha() or rest in b"/_:" or rest > b"\x7f":
            # perhaps a tag that is not complete yet; a "<" inside it says that it never will be
            following = window.find(b"<", start + 1)
            if following < 0 and not final:
                return None
        return start + 1

    def _enter(self, name: bytes, tag: re.Match[bytes], edits: list[Edit]) -> None:
        self._depth = self._depth + 1 if len(self._bases) > 1 else 1
        attributes = tag["attributes"]
        if b"=" not in attributes or not self._telling.search(attributes):
            return
        offset = tag.start("attributes")
        found = []
        first = len(edits)
        for attribute in islice(_ATTRIBUTE.finditer(attributes), _MOST):
            full = attribute["name"]
            part = "double" if attribute["double"] is not None else "single"
            value = attribute[part]
            if len(value) > _LONGEST_TEXT:
                continue
            if full == b"xml:base":
                old = self._base
                self._put(edits, value, offset + attribute.start(part), old)
                self._push(self._depth, self._mapper.resolve(_in_attribute(value), old))
            elif not full.startswith(b"xmlns"):
                found.append((full, value, offset + attribute.start(part)))
        is_refresh = self._rules.refresh and _is_refresh(name, found)
        element = name.decode("latin-1")
        for full, value, place in found:
            self._attribute(element, full, value, place, edits, is_refresh=is_refresh)
        if self._rules.styles and name in (b"set", b"animate"):
            self._animation(found, edits)
        edits[first:] = sorted(edits[first:])  # xml:base was read before the others

    def _attribute(
        self,
        element: str,
        full: bytes,
        value: bytes,
        place: int,
        edits: list[Edit],
        *,
        is_refresh: bool,
    ) -> None:
        """Map the URLs of one attribute; ``place`` is the position of its value."""
        local = full.rpartition(b":")[2]
        rules, text = self._rules, local.decode("latin-1")
        if text in rules.attributes or (text in rules.unprefixed and b":" not in full):
            self._put(edits, value, place, self._base)
        elif (element, text) in rules.spaced:
            for word in islice(_WORD.finditer(value), _MOST):
                self._put(edits, word[0], place + word.start(), self._base)
        elif text in rules.lists:
            if value.count(b",") <= _MOST:
                self._replace(edits, value, place, map_srcset(_in_attribute(value), self._map))
        elif rules.styles and (
            text == "style" or (local in _PRESENTATION and b"url(" in value.lower())
        ):
            self._style(edits, value, place)
        elif text == "content" and is_refresh:
            self._replace(edits, value, place, map_refresh(_in_attribute(value), self._map))

    def _animation(self, found: list[tuple[bytes, bytes, int]], edits: list[Edit]) -> None:
        """The values that an animation of SVG gives to an attribute."""
        animated = next((v for full, v, _ in found if full == b"attributeName"), b"")
        attribute = _in_attribute(animated).strip()
        for full, value, place in found:
            if full in (b"to", b"from", b"by", b"values") and value.count(b";") <= _MOST:
                new = map_animation(attribute, _in_attribute(value), self._map)
                self._replace(edits, value, place, new)

    def _leave(self) -> None:
        while len(self._bases) > 1 and self._bases[-1][0] >= self._depth:
            self._bases.pop()
        self._depth = max(0, self._depth - 1)

    def _text(self, name: bytes, window: bytes, start: int, end: int, edits: list[Edit]) -> None:
        raw = window[start:end]
        if name in (b"style", b"script"):
            for part in islice(_PARTS.finditer(raw), _MOST):
                is_text = part[1] is None
                read = _decoded if is_text else _characters
                self._source(name, part[is_text + 1], start + part.start(is_text + 1), edits, read)
            return
        read = _decoded
        if b"<" in raw:
            match = _CDATA.match(raw)
            if match is None or match[2] is None:
                return
            start, raw, read = start + match.start(2), match[2], _characters
        value = raw.strip(_SPACE)
        if not value:
            return
        base, is_base = self._base, name == self._rules.base_element.encode()
        level, _, is_text = self._bases[-1]
        # Several siblings are alternatives (ISO/IEC 23009-1, 5.6): the first counts.
        is_another = is_base and is_text and level == self._depth - 1
        if is_another:
            base = self._bases[-2][1]
        self._put(edits, value, start + raw.index(value), base, read)
        if is_base and not is_another:
            resolved = self._mapper.resolve(read(value), base)
            self._push(self._depth - 1, resolved, is_text=True)

    def _source(self, name: bytes, raw: bytes, place: int, edits: list[Edit], read: _Read) -> None:
        """A part of a style sheet or of a script: text, or a CDATA section."""
        if name == b"style":
            self._style(edits, raw, place, read)
        elif self._script is not None:
            source = read(raw).encode("utf-8", "surrogateescape")
            new = rewrite_whole(self._script(), source)
            if new != source:
                self._replace(edits, raw, place, new.decode("utf-8", "surrogateescape"), read)

    def _push(self, level: int, base: str | None, *, is_text: bool = False) -> None:
        if base and len(self._bases) <= _MOST_BASES:
            self._bases.append((level, base, is_text))

    def _stylesheet(self, window: bytes, start: int, end: int, edits: list[Edit]) -> None:
        href = _HREF.search(window, start, end)
        if href is not None:
            part = 1 if href[1] is not None else 2
            self._put(edits, href[part], href.start(part), self._base)

    def _map(self, url: str) -> str:
        return self._mapper.map(url, self._base)

    def _put(
        self, edits: list[Edit], raw: bytes, place: int, base: str, read: _Read = _in_attribute
    ) -> None:
        self._replace(edits, raw, place, self._mapper.map(read(raw), base), read)

    def _style(
        self, edits: list[Edit], raw: bytes, place: int, read: _Read = _in_attribute
    ) -> None:
        source = read(raw).encode("utf-8", "surrogateescape")
        if source.count(b"(") > _MOST:
            return
        new = rewrite_css(source, self._map)
        if new != source:
            self._replace(edits, raw, place, new.decode("utf-8", "surrogateescape"), read)

    def _replace(
        self, edits: list[Edit], raw: bytes, place: int, new: str, read: _Read = _in_attribute
    ) -> None:
        """An edit of the changed beginning; the end that both share keeps its spelling."""
        old = read(raw)
        if new == old:
            return
        if new.endswith(old):  # the usual case: an added prefix
            front = _encoded(new[: len(new) - len(old)], read)
            edits.append(Edit(place, place, front))
            return
        same = 0
        limit = min(len(old), len(new))
        while same < limit and old[-1 - same] == new[-1 - same]:
            same += 1
        head = old[: len(old) - same].encode("utf-8", "surrogateescape")
        if raw.startswith(head) and b"&" not in head:
            raw, new = head, new[: len(new) - same]
        edits.append(Edit(place, place + len(raw), _encoded(new, read)))


def _is_refresh(name: bytes, attributes: list[tuple[bytes, bytes, int]]) -> bool:
    return name == b"meta" and any(
        full.rpartition(b":")[2] == b"http-equiv" and value.lower() == b"refresh"
        for full, value, _ in attributes
    )
