"""Foreign text on a terminal, in a log and in a spreadsheet: it is shown and not obeyed.

C0 and C1 control characters and DEL start terminal sequences (ECMA-48; C1 also as one byte), the
bidirectional controls of Unicode (UAX #9) show a line in another order than it is written, the line
and paragraph separators begin lines that were never logged, and lone surrogates can't be encoded.
All of them are written as escapes, which a person can still read. In a cell of a spreadsheet, text
that begins like a formula is marked as text.
"""

from __future__ import annotations

import csv
import io
import re

_HOSTILE = (
    r"\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    r"\u2028\u2029"  # line and paragraph separator
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional controls
    r"\ud800-\udfff"  # lone surrogates
)
_ONE_LINE = re.compile(f"[{_HOSTILE}]")
_LINES = re.compile(f"(?![\\n\\t])[{_HOSTILE}]")


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def one_line(text: str) -> str:
    """The text with every character escaped that is more than a mark on a line."""
    return _ONE_LINE.sub(_escaped, text)


def lines(text: str) -> str:
    """The same for text of several lines: line feeds and tabs stay."""
    return _LINES.sub(_escaped, text)


def in_json(document: str) -> str:
    """A JSON document whose strings hold none of these characters raw (RFC 8259, 7).

    The line feeds between its values stay.
    """
    return _LINES.sub(lambda match: f"\\u{ord(match[0]):04x}", document)


# One match per run of spaces, quotation marks and separators, so that the search is linear.
_FORMULA = re.compile(r"(?<![\s;,\"])([\s;,\"]*+)([=+\-@\uff1d\uff0b\uff0d\uff20])")


def in_cell(text: str) -> str:
    """Text for a cell of a CSV file that no spreadsheet reads as a formula (OWASP, CSV Injection).

    The text after a separator or a line break is protected too: where a semicolon or a tab
    separates cells (as in Russian Excel), quotation marks around a cell are ignored, and the rest
    of the text becomes a separate cell. An apostrophe marks text. Linear in the text's length.
    """

    def marked(match: re.Match[str]) -> str:
        begins_a_cell = match.start() == 0 or any(sign in match[1] for sign in ";,\t\n\v\f\r")
        return f"{match[1]}'{match[2]}" if begins_a_cell else match[0]

    return _FORMULA.sub(marked, text)


def csv_record(*cells: object) -> bytes:
    """One CSV record (RFC 4180) in UTF-8; ``None`` is an empty cell, text is :func:`in_cell`."""
    out = io.StringIO()
    csv.writer(out).writerow([in_cell(cell) if isinstance(cell, str) else cell for cell in cells])
    return out.getvalue().encode()
