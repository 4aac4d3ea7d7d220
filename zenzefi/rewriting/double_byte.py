"""Style sheets in Shift_JIS, GBK and Big5, whose second bytes may look like ASCII.

CSS is defined on characters (CSS Syntax 3, 3.2): the second byte of a character may be 0x5C, which
is not a backslash then. Before the scanners run, such a character gets three bytes above 0x7F: its
first byte, 0xFF, and the second byte with its highest bit set. Afterwards it is restored. All other
bytes stay, so that invalid sequences survive.
"""

from __future__ import annotations

import functools
import re

_LEADS = {
    "cp932": rb"[\x81-\x9f\xe0-\xfc]",
    "gb18030": rb"[\x81-\xfe]",
    "big5hkscs": rb"[\x81-\xfe]",
}
_CODECS = {
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "sjis": "cp932",
    "x-sjis": "cp932",
    "ms_kanji": "cp932",
    "windows-31j": "cp932",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "gb2312": "gb18030",
    "gb18030": "gb18030",
    "big5": "big5hkscs",
    "big5-hkscs": "big5hkscs",
    "cn-big5": "big5hkscs",
    "x-x-big5": "big5hkscs",
}
"""Labels (WHATWG Encoding, 4.2) and Python's names of the encodings."""

_Patterns = tuple[re.Pattern[bytes], re.Pattern[bytes]]


def codec_of(label: str) -> str | None:
    """Python's codec for the label of one of these encodings, ``None`` for any other label."""
    return _CODECS.get(label)


@functools.cache
def _patterns(codec: str) -> _Patterns:
    """Characters, in order: ``low`` ones change, and ``cut`` may go on in the next chunk."""
    lead = _LEADS[codec]
    return (
        re.compile(rb"(?P<low>%b[\x40-\x7e\xff])|%b[\x80-\xfe]|(?P<cut>%b\Z)" % (lead, lead, lead)),
        re.compile(
            rb"(?P<low>%b\xff[\xc0-\xff])|%b[\x80-\xfe]|(?P<cut>%b\xff?\Z)" % (lead, lead, lead)
        ),
    )


@functools.lru_cache(maxsize=16384)
def _is_character(pair: bytes, codec: str) -> bool:
    """Whether the bytes are one character; otherwise the second one is ASCII (WHATWG Encoding)."""
    try:
        return len(pair.decode(codec)) > 0
    except UnicodeDecodeError:
        return pair[1] == 0xFF


class DoubleByte:
    """Lifts the characters of one style sheet above ASCII, and lowers them again."""

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._carry = [b"", b""]

    def decode(self, data: bytes, final: bool) -> bytes:
        """The bytes for the scanners."""
        return self._move(0, data, final)

    def encode(self, data: bytes, final: bool) -> bytes:
        """The bytes for the browser."""
        return self._move(1, data, final)

    def _move(self, way: int, data: bytes, final: bool) -> bytes:
        data, self._carry[way] = self._carry[way] + data, b""
        if data.isascii():
            return data
        out, at = [], 0
        for found in _patterns(self._codec)[way].finditer(data):
            if found.lastgroup == "cut":
                if not final:
                    self._carry[way] = found[0]
                    data = data[: found.start()]
            elif found.lastgroup == "low":
                out += [data[at : found.start()], self._moved(way, found[0])]
                at = found.end()
        out.append(data[at:])
        return b"".join(out)

    def _moved(self, way: int, character: bytes) -> bytes:
        last = character[-1]
        if way:
            return character[:1] + bytes((last if last == 0xFF else last & 0x7F,))
        if not _is_character(character, self._codec):
            return character
        return character[:1] + bytes((0xFF, last | 0x80))
