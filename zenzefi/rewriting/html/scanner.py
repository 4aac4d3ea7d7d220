"""The scanner of HTML documents: maps URLs and inserts markup at the start of the head.

Theory of operation
    :class:`HtmlScanner` is a tokenizer (see there for the states of reading) whose runs stop only
    at tags with a URL that may change. For such a tag it looks up each attribute in the table of
    :mod:`zenzefi.rewriting.html.table`, maps the value and adds an edit for its changed part.
    ``<base href>`` changes the base of all URLs after it; only the first one counts.

    Before the first content three more modes run, in this order: ``_at_start`` (byte-order mark),
    ``_at_beginning`` (decides whether the body is HTML at all: JSON and scripts with the wrong
    label pass unchanged) and ``_before_head`` (reads token by token until the tree builder would
    create the head, and inserts ``HtmlOptions.head`` there). Without a head to insert, the third
    mode is skipped. ``<style>``, inline scripts, import maps and speculation rules have their own
    scanners; ``srcdoc`` documents have a nested :class:`HtmlScanner`, three deep.

Guarantees
    Those of the tokenizer. The markup for the head is inserted at most once, also if the document
    already starts with it. Rewriting is idempotent. One tag costs bounded time: values longer than
    64 KiB, or with more than 4000 parts, pass unchanged.
"""

from __future__ import annotations

import re
from bisect import insort
from itertools import islice

from zenzefi.origin import Mount
from zenzefi.rewriting.csp import permit_behind
from zenzefi.rewriting.css import CssScanner, rewrite_css
from zenzefi.rewriting.edits import Edit
from zenzefi.rewriting.html import elements, embedded, syntax
from zenzefi.rewriting.html.attribute_literals import AttributeLiterals
from zenzefi.rewriting.html.elements import MOST, QUOTES
from zenzefi.rewriting.html.options import HtmlOptions
from zenzefi.rewriting.html.references import decode, encode, splice
from zenzefi.rewriting.html.table import ANIMATIONS, INERT, AddressSyntax, address_syntax
from zenzefi.rewriting.html.tokenizer import TAG_LIMIT, Tag, Tokenizer
from zenzefi.rewriting.microsyntax import map_srcset
from zenzefi.rewriting.scanner import DecidingScanner, Scanner, rewrite_whole
from zenzefi.rewriting.url_map import UrlMap

_SNIFF = 1024
_MAX_DEPTH = 3  # srcdoc in srcdoc
_MARK = b"\xef\xbb\xbf"

# Limits on the cost of one tag, which must not block the event loop. Longer ones pass unchanged.
_LONGEST_ADDRESS = 1 << 16  # bytes
_LONGEST_KEPT = 256  # of an address whose mapping is remembered: most pages repeat theirs
_PARTS = {
    AddressSyntax.SET: ",",
    AddressSyntax.LIST: "/",
    AddressSyntax.CSS: "(",
    AddressSyntax.DOCUMENT: "<",
}

# The beginning of JSON or of a script that is labelled as HTML by mistake.
_DATA = re.compile(
    rb"\{\s*[\"'}]|\[\s*[\[{\"\]]|\)\]\}|//|/\*|(?:function|import|export)\b|(?:var|let|const)\s+[\w$]+\s*[=;]"
    rb"|(?:window|document|self|this)\.|[\w$.]+\((?=\s*[\[{\"'])|'use strict'"
)
_MARKUP = re.compile(rb"<[!/a-zA-Z?]")
_NO_BASE = re.compile(r"(?i)(?:data|javascript):")  # "set the frozen base URL" (HTML, 4.2.3)
_WORD = re.compile(r"[^ \t\n\f\r]+")


class HtmlScanner(Tokenizer, DecidingScanner):
    """Maps the URLs of one document. ``document_url`` is its URL in the upstream's view."""

    def __init__(
        self,
        mapper: UrlMap,
        mount: Mount,
        document_url: str,
        options: HtmlOptions | None = None,
        *,
        depth: int = 0,
    ) -> None:
        hosts = tuple(sorted({origin.host.encode() for origin in mapper.origins}))
        self._view = hosts, mount.is_root, mount.public.scheme != mapper.upstream.scheme
        self._mapper = mapper
        self._mount = mount
        self._base = document_url
        self._inert = elements.InertElements()
        super().__init__(self._run_from_base(), syntax.foreign_address_run(*self._view))
        self._written: dict[tuple[int, bytes], bytes | None] = {}
        self._has_base = False
        self._options = options or HtmlOptions()
        self._depth = depth
        self._mode = self._at_start
        self._hurried = False
        self._hashes = self._options.hashes
        self._literals = AttributeLiterals(mapper.origins, mount)

    def scan(self, window: bytes, final: bool) -> tuple[int, list[Edit]]:
        """See :class:`zenzefi.rewriting.scanner.Scanner`."""
        self._shows_text = self._literals.may_be_in(window)
        return super().scan(window, final)

    def release(self) -> None:
        """See :class:`zenzefi.rewriting.scanner.DecidingScanner`."""
        self._hurried = True

    def _map(self, url: str) -> str:
        return self._mapper.map(url, self._base)

    def _run_from_base(self) -> re.Pattern[bytes]:
        mapped = self._mapper.map("/a", self._base)
        self._front = encode(mapped[:-2], b"") if mapped.endswith("/a") else b""
        if b"&" in self._front:  # its spelling depends on the quotes
            self._front = b""
        levels = self._mapper.levels(self._base)
        most = syntax.MOST_LEVELS
        most = most if levels is None else min(levels, most)
        runs = [syntax.address_run(*self._view, most, inert=inert) for inert in (False, True)]
        self._runs = runs
        return runs[bool(self._inert)]

    # --- attributes ------------------------------------------------------------------------------

    def _run(self, run: Tag, edits: list[Edit]) -> None:
        edits += self._literals.in_run(run)

    def _ended_with(self, run: Tag, edits: list[Edit]) -> int:
        front = self._front
        if front and not self._shows_text:
            # Rooted URLs follow one another, so they are mapped in one loop.
            data, match = run.string, self._html_run.match
            while run.lastindex == syntax.ROOTED:
                start, end = run.span(syntax.ROOTED)
                if data.startswith(front, start):
                    break  # mapped before, or a folder of the same name
                edits.append(Edit(start, end, front + run[syntax.ROOTED]))
                run = match(data, run.end())  # type: ignore[assignment]  # matches the empty string
        group = run.lastindex
        if group is None:
            return run.end()
        key = group, run[group]
        written = self._written
        if key in written:
            new = written[key]
        else:
            new = self._rewritten(run[group], syntax.ADDRESS_GROUPS[group])
            if len(run[group]) <= _LONGEST_KEPT and len(written) < MOST:
                written[key] = new
        if new is not None:
            edit = Edit(*run.span(group), new)
            if self._shows_text:  # the tag may have literals behind
                insort(edits, edit)
            else:
                edits.append(edit)
        return run.end()

    def _rewritten(self, raw: bytes, quote: bytes) -> bytes | None:
        """What to write for an address, ``None`` if it stays."""
        if len(raw) > _LONGEST_ADDRESS:
            return None
        url = decode(raw)
        new = self._mapper.map(url, self._base)
        return None if new is url or new == url else splice(raw, url, new, quote)

    def _start_tag(self, data: bytes, tag: Tag, edits: list[Edit]) -> int:
        if self._hashes is not None and not self._foreign:
            nonces = elements.nonce_edits(self._hashes, data, tag, self._text_reader)
            if nonces is None:
                return -1
            edits += nonces
        return super()._start_tag(data, tag, edits)

    def _tag_edits(self, data: bytes, name: bytes, tag: Tag, edits: list[Edit]) -> None:
        start, end = tag.end(1), tag.end()
        before = len(edits)
        if name == b"meta":
            edits += elements.meta_edits(data, start, end, self._map, self._policy)
        elif name in ANIMATIONS and self._in_foreign():
            edits += elements.animation_edits(data, start, end, self._map)
        elif name in INERT and not self._in_foreign():
            self._inert.opens(name)
            self._html_run = self._runs[True]
        elif name == b"base":
            self._base_element(data, start, end, edits)
        else:
            self._attributes(data, name, start, end, edits)
            if name == b"link" and self._options.credentials:
                edits += elements.credential_edits(data, start, end, self._own)
                edits.sort()
        if self._shows_text:
            mapped = edits[before:]
            found = self._literals.in_tag(tag, mapped, in_foreign=self._in_foreign())
            edits[before:] = sorted((*mapped, *found))

    def _policy(self, policy: str) -> str:
        """A policy in ``<meta>``, which also applies to the inline elements behind it."""
        if self._options.csp is not None:
            policy = self._options.csp(policy)
        if self._options.nonce is None or "'sha" not in policy.lower():
            return policy
        policy, self._hashes = permit_behind(policy, self._hashes, self._options.nonce)
        return policy

    def _end_tag_edits(self, name: bytes, tag: Tag, edits: list[Edit]) -> None:
        if name in INERT and self._inert and not self._in_foreign():
            self._inert.closes(name)
            self._html_run = self._runs[bool(self._inert)]

    def _attributes(
        self, data: bytes, name: bytes, start: int, end: int, edits: list[Edit]
    ) -> None:
        seen: set[bytes] = set()
        integrity: Edit | None = None
        resource = ""
        for _ in range(MOST):
            found = syntax.ADDRESS.match(data, start, end - 1)
            if found is None:
                break
            start = found.end()
            attribute = found[1].lower()
            if attribute == b"integrity" and integrity is None:
                space = data[found.start(1) - 1 : found.start(1)].isspace()
                integrity = Edit(found.start(1) - space, found.end(), b"")
                continue
            if attribute in seen:  # the first of repeated attributes counts
                continue
            seen.add(attribute)
            group = found.lastindex or 1
            kind = address_syntax(name, attribute, in_foreign=self._in_foreign())
            if group == 1 or kind is None:
                continue
            raw = found[group]
            if len(raw) > _LONGEST_ADDRESS and (
                kind is AddressSyntax.URL or raw.count(b"&") > MOST
            ):
                continue
            value = decode(raw)
            new = (
                self._mapper.map(value, self._base)
                if kind is AddressSyntax.URL
                else self._value(kind, value)
            )
            if name in (b"link", b"script") and attribute in (b"href", b"src"):
                resource = value
            if new is not value and new != value:
                put = splice(raw, value, new, QUOTES[group])
                edits.append(Edit(*found.span(group), put))
        if integrity is not None and self._may_change(resource):
            edits.append(integrity)
            edits.sort()

    def _value(self, kind: AddressSyntax, value: str) -> str:
        if value.count(_PARTS[kind]) > MOST:
            return value
        if kind is AddressSyntax.SET:
            return map_srcset(value, self._map)
        if kind is AddressSyntax.LIST:
            return _WORD.sub(lambda found: self._map(found[0]), value)
        # Escaped bytes stay apart from characters: together they may look like UTF-8.
        raw = value.encode("utf-8", "surrogatepass")
        if kind is AddressSyntax.CSS:
            new = rewrite_css(raw, self._map)
        elif self._depth < _MAX_DEPTH and b"<" in raw:
            # A srcdoc document is a separate one, with the base URL of its page.
            inner = HtmlScanner(
                self._mapper, self._mount, self._base, self._options, depth=self._depth + 1
            )
            new = rewrite_whole(inner, raw)
        else:
            new = raw
        return value if new == raw else new.decode("utf-8", "surrogatepass")

    def _own(self, url: str) -> str | None:
        """The absolute URL, if it belongs to the upstream."""
        absolute = self._mapper.resolve(url, self._base)
        return absolute if absolute is not None and self._mapper.is_own(absolute) else None

    def _may_change(self, url: str) -> bool:
        """Whether the resource may be rewritten, so that its integrity metadata would not match."""
        keeps, absolute = self._options.keep_integrity, self._own(url)
        if absolute is None or keeps is None:
            return absolute is not None and not self._mount.is_root
        return not keeps(absolute)

    def _base_element(self, data: bytes, start: int, end: int, edits: list[Edit]) -> None:
        if self._has_base or self._inert or self._in_foreign():
            return
        for name, group, found in islice(syntax.attributes(data, start, end - 1), MOST):
            if name == b"href" and group > 1:
                raw = found[group]
                value = decode(raw)
                new = self._map(value)
                self._has_base = True
                base = self._mapper.resolve(value, self._base)
                if base is not None and not _NO_BASE.match(base):
                    self._base = base
                self._html_run = self._run_from_base()
                self._written.clear()
                if new != value:
                    put = splice(raw, value, new, QUOTES[group])
                    edits.append(Edit(*found.span(group), put))
                return

    # --- text inside elements --------------------------------------------------------------------

    def _style_reader(self, *, is_section: bool) -> Scanner:
        style = CssScanner(self._map)
        return style if is_section else embedded.ReferencedText(style)

    def _text_reader(self, name: bytes, tag: Tag) -> Scanner | None:
        if name == b"style":
            return CssScanner(self._map)
        if name != b"script":
            return None
        kind = ""
        for attribute, group, found in syntax.attributes(tag[0], len(name) + 1, len(tag[0]) - 1):
            if attribute == b"src":
                return None  # its text is not run
            if attribute == b"type" and group > 1 and not kind:
                kind = decode(found[group]).strip().lower()
        if kind == "importmap":
            return embedded.import_map(self._map, self._may_change)
        if kind == "speculationrules":
            return embedded.WholeText(
                lambda text: embedded.map_speculation_rules(text, self._mapper, self._base)
            )
        return self._options.scripts(kind) if self._options.scripts is not None else None

    # --- where the head begins (sections 13.2.6.4.1 to .3) ----------------------------------------

    def _at_start(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        """The first bytes may be a byte-order mark."""
        waits = not final and not (self._hurried and len(data) > pos)
        if waits and len(data) - pos < 3 and _MARK.startswith(data[pos : pos + 3]):
            return -1
        self._mode = self._at_beginning
        return pos + 3 if data.startswith(_MARK, pos) else pos

    def _at_beginning(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        """Decide whether the body is HTML; JSON and scripts may be labelled as HTML."""
        at = syntax.WHITE_SPACE.match(data, pos).end()  # type: ignore[union-attr]  # matches the empty string
        # A "<" may begin anything, even a doctype, which must stay the first.
        hurried = self._hurried and len(data) > at and not data.startswith(b"<", at)
        if not (final or hurried) and len(data) - at < 2:
            return at
        if _MARKUP.match(data, at) is not None:
            self._mode = self._resume = self._before_head if self._options.head else None
            return at
        has_markup = _MARKUP.search(data, at) is not None
        if not (final or hurried or has_markup) and len(data) - at < _SNIFF:
            return -1
        self._mode = None
        if self._depth == 0 and not self._options.shown and _DATA.match(data, at) is not None:
            return self._enter(self._in_plaintext, at)
        if self._options.head and (has_markup or (hurried and self._options.shown and not final)):
            return self._inject(data, at, edits, final)
        return at

    def _before_head(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        """Read one token before the head; insert the markup where the head begins."""
        space = syntax.WHITE_SPACE.match(data, pos).end()  # type: ignore[union-attr]  # matches the empty string
        if space > pos:
            return space
        if pos == len(data):
            self._mode = None  # an empty document needs no head
            return pos
        c = data[pos + 1 : pos + 2]
        if data[pos : pos + 1] == b"<":
            if not c and not final:
                return -1
            if c.isalpha():
                tag = syntax.START_TAG.match(data, pos)
                if tag is None and not final and len(data) - pos <= TAG_LIMIT:
                    return self._unfinished_tag(data, pos)
                name = tag[1].lower() if tag is not None else b""
                if tag is not None and name == b"html":
                    return self._start_tag(data, tag, edits)
                if tag is not None and name == b"head":
                    if self._waits(data, tag.end(), final):
                        return -1
                    return self._inject(data, self._start_tag(data, tag, edits), edits, final)
            elif c in (b"!", b"?"):
                return self._markup(data, pos, edits, final)
            elif c == b"/":
                end = syntax.END_TAG.match(data, pos)
                if end is None:
                    return self._markup(data, pos, edits, final)
                if end[1].lower() not in (b"head", b"body", b"html", b"br"):
                    return end.end()  # ignored by the tree builder
        return self._inject(data, pos, edits, final)

    def _waits(self, data: bytes, pos: int, final: bool) -> bool:
        """Whether more bytes are needed to see if the markup is already there."""
        head = self._options.head
        return not final and len(data) - pos < len(head) and head.startswith(data[pos:])

    def _inject(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        if self._waits(data, pos, final):
            return -1
        self._mode = self._resume = None
        if not data.startswith(self._options.head, pos):
            edits.append(Edit(pos, pos, self._options.head))
        return pos
