"""The HTML tokenizer: windows of bytes in, edits out (HTML section 13.2.5).

Theory of operation
    One pattern, the *run*, matches everything that can't change, so most bytes are read by ``re``
    alone. Python runs only where the run stops: at a tag that may need an edit, or at markup that
    changes how the following bytes are read. Subclasses decide what a tag means.

States
    The state is ``_mode``: ``None`` (data: run, then one piece of markup) or a method that reads
    one kind of content up to its end: comment, bogus comment, CDATA section, raw text, script,
    style sheet in SVG, plain text, or a tag longer than :data:`TAG_LIMIT`. At its end each mode
    returns to ``_resume``, which is ``None`` except before the head. Two more values are part of
    the state: ``_foreign``, the open ``svg`` and ``math`` elements with their integration points,
    as far as the tree builder lets them change the reading (section 13.2.6.5), and ``_escaped``,
    the level of escapes in a script (0, 1 "escaped", 2 "double escaped").

In each state
    A mode returns the position up to which it has read. If it returns the same position and keeps
    the mode, it needs more bytes, and the rest of the window stays unsettled. Content that a
    scanner reads (style sheets, scripts) is passed to ``_text`` as it arrives.

Guarantees
    - Chunking independence: edits do not depend on where windows are cut. A token is read only when
      it is complete, or when the next byte shows that it can't continue.
    - Linear time: no pattern backtracks, and a tag cut by a window is read again only when its end
      has arrived.
    - Bounded memory: at most :data:`TAG_LIMIT` bytes stay unsettled. Longer tags pass unchanged.
    - Invalid input never raises. A tag that the end of the document cuts off stays unchanged, as
      browsers drop it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from zenzefi.rewriting.edits import Edit
from zenzefi.rewriting.html import syntax
from zenzefi.rewriting.html.table import BREAKOUT, FOREIGN_ROOTS, INTEGRATION_POINTS, RAW_TEXT
from zenzefi.rewriting.scanner import Scanner

TAG_LIMIT = 1 << 18
"""Bytes of the longest tag, or of the longest text rewritten as a whole; longer ones pass."""

_CDATA = b"<![CDATA["
_MARKS = (b"<!--", _CDATA, b"<!doctype", b"<!DOCTYPE")

# Start tags that change how the following bytes are read.
_CONCERNS_READING = RAW_TEXT | FOREIGN_ROOTS | {b"script", b"plaintext"}

Tag = re.Match[bytes]
_Mode = Callable[[bytes, int, list[Edit], bool], int]


class Tokenizer:
    """Reads one document, window by window. Its encoding must be a superset of ASCII."""

    _shows_text = False

    def __init__(self, html_run: re.Pattern[bytes], foreign_run: re.Pattern[bytes]) -> None:
        self._html_run = html_run
        self._foreign_run = foreign_run
        self._mode: _Mode | None = None
        self._resume: _Mode | None = None  # the mode that other modes return to
        self._foreign: list[bytes] = []  # open svg and math elements with their integration points
        self._text: Scanner | None = None  # the scanner of the text inside the element
        self._text_end = syntax.COMMENT_END
        self._text_hold = 0
        self._escaped = 0  # 1 in "script data escaped", 2 in "double escaped"
        self._ahead = 0  # bytes of the next window already searched for these
        self._cut = False  # the last window cut off a tag: the next one begins with it

    def scan(self, window: bytes, final: bool) -> tuple[int, list[Edit]]:
        """``(settled, edits)`` (:class:`zenzefi.rewriting.scanner.Scanner`)."""
        edits: list[Edit] = []
        pos, size = 0, len(window)
        if self._cut and not final and b">" not in window:
            return max(0, self._unfinished_tag(window, 0)), edits
        self._cut = False
        while pos < size or (final and self._mode is not None):
            mode = self._mode
            if mode is not None:
                after = mode(window, pos, edits, final)
                if after > pos:
                    pos = after
                elif self._mode is mode:  # nothing more can be settled
                    break
                continue
            run = self._foreign_run if self._foreign else self._html_run
            found: Tag = run.match(window, pos)  # type: ignore[assignment]  # matches the empty string
            at = found.end()
            if at > pos:
                if self._shows_text:
                    self._run(found, edits)
                pos = at
                if found.lastindex:
                    pos = self._ended_with(found, edits)
                    continue
                if pos == size:
                    break
            after = self._markup(window, pos, edits, final)
            if after < 0:
                break
            pos = after
        return (size if final else pos), edits

    def _markup(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        """Read the markup at ``pos``. Returns the position after it, -1 if bytes are missing."""
        tag = syntax.START_TAG.match(data, pos)
        if tag is not None:
            return self._start_tag(data, tag, edits)
        size = len(data)
        c = data[pos + 1 : pos + 2]
        if c.isalpha():
            return size if final else self._unfinished_tag(data, pos)
        if c == b"/":
            if data[pos + 2 : pos + 3].isalpha():
                tag = syntax.END_TAG.match(data, pos)
                if tag is not None:
                    return self._end_tag(data, tag, edits)
                return size if final else self._unfinished_tag(data, pos)
            if pos + 2 == size:
                return size if final else -1
            return self._enter(self._in_bogus_comment, pos + 2)
        if c == b"!":
            return self._declaration(data, pos, edits, final)
        if c == b"?":
            return self._enter(self._in_bogus_comment, pos + 2)
        if not c and not final:
            return -1
        return pos + 1

    def _declaration(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        head = data[pos : pos + 9]
        if head.startswith(b"<!--"):
            found = syntax.COMMENT.match(data, pos)
            if found is not None:
                self._comment(data, pos, found.end(), edits)
                return found.end()
            if len(data) - pos < 7 and not final:
                return -1
            return self._enter(self._in_comment, pos + 4)
        if not final and len(head) < 9 and any(mark.startswith(head) for mark in _MARKS):
            return -1
        if head == _CDATA and self._in_foreign():
            return self._enter(self._in_cdata, pos + 9)
        if head.lower() == b"<!doctype" and (end := data.find(b">", pos) + 1):
            self._doctype(data, pos, end, edits)
            return end
        return self._enter(self._in_bogus_comment, pos + 2)

    def _enter(self, mode: _Mode, pos: int) -> int:
        self._mode = mode
        return pos

    def _unfinished_tag(self, data: bytes, pos: int) -> int:
        self._cut = len(data) - pos <= TAG_LIMIT
        if self._cut:
            return -1
        # It passes unchanged; remember whether a quote is open.
        found = syntax.OPEN_QUOTE.match(data, pos)
        return self._enter(self._in_long_tag((found and found[1]) or b""), len(data))

    # --- events for subclasses --------------------------------------------------------------------

    def _run(self, run: Tag, edits: list[Edit]) -> None:
        """Text and tags without anything to edit, and the last tag of :meth:`_ended_with`."""

    def _ended_with(self, run: Tag, edits: list[Edit]) -> int:
        """The last tag of a run, if the run's pattern has a group for it.

        Returns the position up to which it has read; it may go on with the next runs.
        """
        return run.end()

    def _comment(self, data: bytes, start: int, end: int, edits: list[Edit]) -> None:
        """A comment that is complete in the window."""

    def _doctype(self, data: bytes, start: int, end: int, edits: list[Edit]) -> None:
        """A document type that is complete in the window."""

    def _tag_edits(self, data: bytes, name: bytes, tag: Tag, edits: list[Edit]) -> None:
        """A start tag; ``name`` is in lower case."""

    def _end_tag_edits(self, name: bytes, tag: Tag, edits: list[Edit]) -> None:
        """An end tag; ``name`` is in lower case."""

    def _text_reader(self, name: bytes, tag: Tag) -> Scanner | None:
        """The scanner of a raw text element's content, or ``None``."""

    def _style_reader(self, *, is_section: bool) -> Scanner | None:
        """The scanner of a style sheet in SVG: of a CDATA section, or of other text."""

    # --- tags ------------------------------------------------------------------------------------

    def _start_tag(self, data: bytes, tag: Tag, edits: list[Edit]) -> int:
        name = tag[1].lower()
        self._tag_edits(data, name, tag, edits)
        if not self._foreign and name not in _CONCERNS_READING:
            return tag.end()
        if self._in_foreign() and not self._leaves_foreign(name, tag[0]):
            if not tag[0].endswith(b"/>"):
                self._open_foreign(name, tag)
        elif name in FOREIGN_ROOTS:
            if not tag[0].endswith(b"/>"):
                self._foreign.append(name)
        elif name == b"script":
            self._escaped = self._ahead = 0
            self._text = self._text_reader(name, tag)
            self._mode = self._in_script
        elif name in RAW_TEXT:
            self._text = self._text_reader(name, tag)
            self._text_end = syntax.raw_text_end(name)
            self._text_hold = len(name) + 2
            self._mode = self._in_raw_text
        elif name == b"plaintext":
            self._mode = self._in_plaintext
        return tag.end()

    def _end_tag(self, data: bytes, tag: Tag, edits: list[Edit]) -> int:
        name = tag[1].lower()
        self._end_tag_edits(name, tag, edits)
        stack = self._foreign
        if not stack:
            return tag.end()
        if not self._in_foreign():
            if stack[-1] == name:
                stack.pop()
        elif name in (b"br", b"p"):
            self._leave_foreign()
        elif name in FOREIGN_ROOTS:
            # Close up to the integration point around it; HTML elements beyond stay open.
            for i in range(len(stack) - 1, -1, -1):
                if stack[i] not in FOREIGN_ROOTS:
                    break
                if stack[i] == name:
                    del stack[i:]
                    break
        return tag.end()

    # --- foreign content -------------------------------------------------------------------------

    def _in_foreign(self) -> bool:
        """Whether the tree builder reads SVG or MathML here."""
        return bool(self._foreign) and self._foreign[-1] in FOREIGN_ROOTS

    def _leaves_foreign(self, name: bytes, raw: bytes) -> bool:
        if name in BREAKOUT or (name == b"font" and syntax.FONT.search(raw) is not None):
            self._leave_foreign()
            return True
        return False

    def _leave_foreign(self) -> None:
        while self._foreign and self._foreign[-1] in FOREIGN_ROOTS:
            self._foreign.pop()

    def _open_foreign(self, name: bytes, tag: Tag) -> None:
        root = self._foreign[-1]
        # <math> in SVG is an unknown element of SVG; <svg> in MathML an image in an annotation.
        if name in (root, b"svg") or (
            name in INTEGRATION_POINTS[root]
            and (name != b"annotation-xml" or syntax.HTML_ANNOTATION.search(tag[0]) is not None)
        ):
            self._foreign.append(name)
        elif name == b"style" and root == b"svg":
            self._text = self._style_reader(is_section=False)
            self._mode = self._in_foreign_style

    # --- modes: each reads content up to its end, then returns to ``_resume`` --------------------

    def _in_comment(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        found = syntax.COMMENT_END.search(data, pos)
        if found is not None or final:
            self._mode = self._resume
            return found.end() if found else len(data)
        return max(pos, len(data) - 3)

    def _in_bogus_comment(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        end = data.find(b">", pos)
        if end >= 0 or final:
            self._mode = self._resume
        return end + 1 if end >= 0 else len(data)

    def _in_cdata(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        end = data.find(b"]]>", pos)
        if end >= 0 or final:
            self._mode = self._resume
            return end + 3 if end >= 0 else len(data)
        return max(pos, len(data) - 2)

    def _in_plaintext(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        if final:
            self._mode = self._resume
        return len(data)

    def _in_long_tag(self, quote: bytes) -> _Mode:
        def mode(data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
            nonlocal quote
            while True:
                if quote:
                    end = data.find(quote, pos)
                    if end < 0:
                        break
                    quote, pos = b"", end + 1
                found = syntax.LONG_TAG.search(data, pos)
                if found is None:
                    break
                pos = found.end()
                if found[0] == b">":
                    self._mode = self._resume
                    return pos
                quote = found[1]
            if final:
                self._mode = self._resume
            return len(data)

        return mode

    def _in_raw_text(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        found = self._text_end.search(data, pos)
        if found is not None or final:
            return self._end_text(data, pos, found.start() if found else len(data), edits)
        end = len(data)
        hold = data.rfind(b"<", max(pos, end - self._text_hold))
        return self._pass_text(data, pos, hold if hold >= 0 else end, edits)

    def _in_foreign_style(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        """A style sheet in SVG is text and CDATA sections; each is read as a style sheet."""
        end = data.find(b"<", pos)
        if not final and (end < 0 or _CDATA.startswith(data[end:])):
            return self._pass_text(data, pos, len(data) if end < 0 else end, edits)
        at = self._end_text(data, pos, end if end >= 0 else len(data), edits)
        if not data.startswith(_CDATA, at):
            return at
        self._text = self._style_reader(is_section=True)
        return self._enter(self._in_style_section, at + 9)

    def _in_style_section(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        end = data.find(b"]]>", pos)
        if end < 0 and not final:
            return self._pass_text(data, pos, max(pos, len(data) - 2), edits)
        at = self._end_text(data, pos, end if end >= 0 else len(data), edits)
        if end < 0:
            return at
        self._text = self._style_reader(is_section=False)
        return self._enter(self._in_foreign_style, end + 3)

    def _in_script(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        """Script data (section 13.2.5.4) with its three levels of escapes."""
        at, escaped = pos + self._ahead, self._escaped
        while True:
            found = (syntax.ESCAPED if escaped else syntax.UNESCAPED).search(data, at)
            if found is None:
                break
            at = found.end()
            if found[0] == b"<!--":
                escaped = 1
                at -= 2  # the dashes of "<!-->" close what they open
            elif found[0] == b"-->":
                escaped = 0
            elif not found[1]:
                escaped = 2
            elif escaped == 2:
                escaped = 1
            else:
                return self._end_text(data, pos, found.start(), edits)
        if final:
            return self._end_text(data, pos, len(data), edits)
        # Hold back what may become one of the marks; the next search starts there.
        end = len(data)
        for mark in (b"<", b"--"):
            cut = data.find(mark, max(at, end - 9))
            end = min(end, cut) if cut >= 0 else end
        if end == len(data) > at and data.endswith(b"-"):
            end -= 1
        settled = self._pass_text(data, pos, end, edits)
        # The scanner may settle less than was searched for marks: they must not count twice.
        self._escaped, self._ahead = escaped, max(0, at - settled)
        return settled

    def _pass_text(self, data: bytes, start: int, end: int, edits: list[Edit]) -> int:
        """Pass the text to its scanner. Returns the position up to which it is settled."""
        if self._text is None or end <= start:
            return max(start, end)
        settled, found = self._text.scan(data[start:end], False)
        edits += [Edit(start + a, start + b, new) for a, b, new in found]
        return start + settled

    def _end_text(self, data: bytes, start: int, end: int, edits: list[Edit]) -> int:
        if self._text is not None:
            _, found = self._text.scan(data[start:end], True)
            edits += [Edit(start + a, start + b, new) for a, b, new in found]
        self._text = None
        self._mode = self._resume
        return end
