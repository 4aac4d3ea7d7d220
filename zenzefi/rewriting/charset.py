"""The encoding of a body, and the two kinds of encodings that are not ASCII-compatible.

Precedence is that of browsers (WHATWG Encoding; HTML, "encoding sniffing algorithm"): the
byte-order mark, the ``charset`` parameter, then for HTML a ``<meta>`` in the first 1024 bytes.
UTF-16 is transcoded to UTF-8 and back. ISO-2022-JP keeps its bytes: in its two-byte mode, decoding
lifts every byte above 0x7F and encoding lowers it again, so that no character is mistaken for a tag
and no text has to be transcoded.
"""

from __future__ import annotations

import codecs
import re

from zenzefi.rewriting.double_byte import DoubleByte, codec_of

_UTF16 = {
    "utf-16": "utf-16-le",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    "unicode": "utf-16-le",
    "ucs-2": "utf-16-le",
    "iso-10646-ucs-2": "utf-16-le",
    "csunicode": "utf-16-le",
    "unicodefeff": "utf-16-le",
    "unicodefffe": "utf-16-be",
}
_ISO_2022_JP = frozenset({"iso-2022-jp", "csiso2022jp"})
_PARAMETER = re.compile(r";[ \t]*charset[ \t]*=[ \t]*(?:\"([^\"]*)\"|'([^']*)'|([^\s;]*))", re.I)
PRESCAN = 1024


def label(content_type: str) -> str:
    """The ``charset`` parameter in lower case, or ``""``."""
    match = _PARAMETER.search(content_type)
    if match is None:
        return ""
    return (match[1] or match[2] or match[3] or "").strip(" \t\"'").lower()


def by_mark(head: bytes) -> str:
    """The encoding that a byte-order mark declares, or ``""``."""
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8"
    if head.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    if head.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    return ""


def may_be_mark(head: bytes) -> bool:
    """Whether more bytes are needed to know if there is a byte-order mark."""
    return len(head) < 3 and any(
        mark.startswith(head)
        for mark in (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        if len(head) < len(mark)
    )


def by_label(name: str) -> str:
    """The encoding of a label: ``utf-16-le``, ``utf-16-be``, ``iso-2022-jp``, or the label."""
    if name in _UTF16:
        return _UTF16[name]
    return "iso-2022-jp" if name in _ISO_2022_JP else name


_RULE = re.compile(rb'@charset "([^"]{1,64})";')


def by_rule(head: bytes, final: bool) -> str | None:
    """The label in the ``@charset`` of a style sheet, or ``""``; ``None`` if more is needed.

    CSS Syntax 3, 3.2: the rule counts only in this spelling, at the very beginning.
    """
    found = _RULE.match(head)
    if found is not None:
        name = found[1].strip(b"\t\n\f\r ").decode("latin-1").lower()
        return "utf-8" if name in _UTF16 else by_label(name)
    mark = b'@charset "'
    is_cut = mark.startswith(head[: len(mark)]) and len(head) < 80 and b";" not in head
    return None if is_cut and not final else ""


_COMMENT_OR_TAG = re.compile(
    rb"<!--(?:.*?)(?:-->|\Z)|<meta[\t\n\f\r /]((?:[^>\"']|\"[^\"]*\"|'[^']*')*)|<[!/?a-z][^>]*",
    re.I | re.S,
)
_ATTRIBUTE = re.compile(
    rb"([^\t\n\f\r />=]+)(?:[\t\n\f\r ]*=[\t\n\f\r ]*(?:\"([^\"]*)\"|'([^']*)'|([^\t\n\f\r >]*)))?"
)
_CONTENT = re.compile(
    rb"charset[\t\n\f\r ]*=[\t\n\f\r ]*(?:\"([^\"]*)\"|'([^']*)'|([^\t\n\f\r ;\"']+))", re.I
)


def prescan(head: bytes) -> str:
    """The label in a ``<meta>`` of the first 1024 bytes, in lower case, or ``""``.

    HTML, "prescan a byte stream to determine its encoding": comments and other tags are skipped;
    ``content`` counts only with ``http-equiv=content-type``; UTF-16 means UTF-8 there.
    """
    for tag in _COMMENT_OR_TAG.finditer(head[:PRESCAN]):
        if tag[1] is None:
            continue
        found: dict[bytes, bytes] = {}
        for name, double, single, bare in _ATTRIBUTE.findall(tag[1]):
            found.setdefault(name.lower(), double or single or bare)
        value = found.get(b"charset")
        if value is None and found.get(b"http-equiv", b"").strip().lower() == b"content-type":
            match = _CONTENT.search(found.get(b"content", b""))
            value = (match[1] or match[2] or match[3] or b"") if match else None
        if value:
            name = value.strip(b"\t\n\f\r ").decode("latin-1").lower()
            return "utf-8" if name in _UTF16 else name
    return ""


class Plain:
    """ASCII-compatible: bytes stay bytes."""

    def decode(self, data: bytes, final: bool) -> bytes:
        """Returns ``data`` unchanged."""
        return data

    def encode(self, data: bytes, final: bool) -> bytes:
        """Returns ``data`` unchanged."""
        return data


class Utf16:
    """UTF-16 to UTF-8 and back; lone surrogates and an odd last byte are preserved."""

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._in = codecs.getincrementaldecoder(codec)("surrogatepass")
        self._out = codecs.getincrementaldecoder("utf-8")("surrogatepass")
        self._odd = b""

    def decode(self, data: bytes, final: bool) -> bytes:
        """The complete characters so far, as UTF-8."""
        data = self._odd + data
        cut = len(data) & ~1
        self._odd = data[cut:]
        # a high surrogate waits in the decoder for its pair; with ``final`` it comes out alone
        return self._in.decode(data[:cut], final).encode("utf-8", "surrogatepass")

    def encode(self, data: bytes, final: bool) -> bytes:
        """Back to UTF-16."""
        out = self._out.decode(data, final).encode(self._codec, "surrogatepass")
        return out + self._odd if final else out


class Iso2022Jp:
    """ISO-2022-JP with its two-byte runs lifted out of ASCII, at equal length."""

    _RUN = re.compile(rb"\x1b\$[@B]|\x1b\([BJI]")
    _SWAP = bytes(byte ^ 0x80 if 0x21 <= byte & 0x7F <= 0x7E else byte for byte in range(256))

    def __init__(self) -> None:
        self._modes = [False, False]
        self._carry = [b"", b""]

    def _move(self, direction: int, data: bytes, final: bool) -> bytes:
        table = self._SWAP  # its own inverse, so that even invalid bytes survive
        data = self._carry[direction] + data
        keep = 0 if final else _unfinished_escape(data)
        data, self._carry[direction] = data[: len(data) - keep], data[len(data) - keep :]
        if b"\x1b" not in data:
            return data.translate(table) if self._modes[direction] else data
        out, at = [], 0
        for escape in self._RUN.finditer(data):
            run = data[at : escape.start()]
            out += [run.translate(table) if self._modes[direction] else run, escape[0]]
            self._modes[direction] = escape[0][1:2] == b"$" or escape[0] == b"\x1b(I"
            at = escape.end()
        run = data[at:]
        out.append(run.translate(table) if self._modes[direction] else run)
        return b"".join(out)

    def decode(self, data: bytes, final: bool) -> bytes:
        """Lift the bytes of two-byte runs above 0x7F."""
        return self._move(0, data, final)

    def encode(self, data: bytes, final: bool) -> bytes:
        """Lower them again."""
        return self._move(1, data, final)


def _unfinished_escape(data: bytes) -> int:
    for length in (2, 1):
        tail = data[-length:]
        if len(tail) == length and tail in (b"\x1b", b"\x1b$", b"\x1b("):
            return length
    return 0


class Undeclared:
    """HTML without an encoding in its headers: a ``<meta>`` may declare one.

    ISO-2022-JP is decided at the first escape byte. Before it both readings are equal, so no byte
    has to wait for the prescan. For a double-byte encoding the reading changes with the chunk in
    which the ``<meta>`` ends: what came before is text or markup without style sheets.
    ``double_byte`` tells whether it is looked for.
    """

    def __init__(self, *, double_byte: bool = False) -> None:
        self._looks = double_byte
        self._head = b""
        self._seen = 0
        self._waiting = b""
        self._inner: Plain | Iso2022Jp | DoubleByte | None = None

    def decode(self, data: bytes, final: bool) -> bytes:
        """Lift two-byte runs if the body is ISO-2022-JP."""
        if self._inner is not None:
            return self._inner.decode(data, final)
        if len(self._head) < PRESCAN:
            self._head += data[: PRESCAN - len(self._head)]
        self._seen += len(data)
        found = self._double_byte(data) if self._looks and not self._waiting else None
        if found is not None:
            self._inner = found
            return found.decode(data, final)
        data = self._waiting + data
        self._waiting = b""
        escape = data.find(b"\x1b")
        if escape < 0:
            if self._seen >= PRESCAN:
                self._decide()
            return data
        if self._seen < PRESCAN and not final:
            self._waiting = data[escape:]
            return data[:escape]
        return data[:escape] + self._decide().decode(data[escape:], final)

    def release(self) -> bytes:
        """The bytes that wait for the prescan; it reads what has arrived."""
        waiting, self._waiting = self._waiting, b""
        return self._decide().decode(waiting, False) if waiting else b""

    def _double_byte(self, data: bytes) -> DoubleByte | None:
        """The transcoder, once the end of a ``<meta>`` has arrived that declares it."""
        if b">" not in data:
            return None
        label = prescan(self._head)
        codec = codec_of(label)
        self._looks = not label
        return DoubleByte(codec) if codec is not None else None

    def _decide(self) -> Plain | Iso2022Jp:
        is_japanese = by_label(prescan(self._head)) == "iso-2022-jp"
        inner = Iso2022Jp() if is_japanese else Plain()
        self._inner = inner
        return inner

    def encode(self, data: bytes, final: bool) -> bytes:
        """Lower the lifted bytes."""
        return data if self._inner is None else self._inner.encode(data, final)


Transcoder = Plain | Utf16 | Iso2022Jp | Undeclared | DoubleByte


def transcoder(encoding: str, *, html: bool, double_byte: bool = False) -> Transcoder:
    """The transcoder of one body; ``encoding`` is from :func:`by_mark` or :func:`by_label`.

    ``double_byte``: whether the body may contain style sheets and is read by scanners only, so that
    the characters of Shift_JIS, GBK and Big5 are moved out of ASCII.
    """
    if encoding in ("utf-16-le", "utf-16-be"):
        return Utf16(encoding)
    if encoding == "iso-2022-jp":
        return Iso2022Jp()
    codec = codec_of(encoding) if double_byte else None
    if codec is not None:
        return DoubleByte(codec)
    return Undeclared(double_byte=double_byte) if html and not encoding else Plain()


def python_name(encoding: str) -> str:
    """Python's codec for an encoding's label; UTF-8 if there is none.

    Labels are those of WHATWG Encoding: ``iso-8859-1`` and ``ascii`` mean windows-1252.
    """
    name = {
        "iso-8859-1": "windows-1252",
        "latin1": "windows-1252",
        "us-ascii": "windows-1252",
        "ascii": "windows-1252",
        "gb2312": "gb18030",
        "gbk": "gb18030",
        "shift_jis": "cp932",
        "x-sjis": "cp932",
    }.get(encoding, encoding)
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "utf-8"
