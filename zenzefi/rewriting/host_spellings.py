"""The search that tells that markup or a style sheet names none of the upstream's hosts.

The URL mapping recognises a host in many spellings: character references (``&#97;pp.example``),
escapes of CSS (``\\61 pp.example``), percent-encoding, tabs and line breaks in the middle, other
cases, characters that domain names map to ASCII (full-width letters, soft hyphens), and other
numbers for an IPv4 address. The search removes these spellings step by step and looks for the host
after each step. It does so regardless of the context, so it may find a host where the scanners see
none, but never the other way round. Text without such spellings costs a few passes at the speed of
:meth:`bytes.find`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterator
from urllib.parse import unquote_to_bytes

import idna

from zenzefi.origin import Origin
from zenzefi.rewriting.css_escapes import unescape
from zenzefi.rewriting.hosts import read_host
from zenzefi.rewriting.html import references

_ASCII = bytes(range(128))
_HOST_CHARACTER = re.compile(r"[a-z0-9._-]")
_NUMBER = re.compile(r"[0-9.]+|\[.*")
# The scanners read a host only after one of these: two slashes in any spelling, the scheme's colon
# with fewer slashes, or a user's "@".
_BEFORE = (rb"[/\\:;}][/\\]", rb"[25][fc]", rb"[25][fc][/\\]", rb"[ps]:", rb"[@;}]")
_POLICY = b"content-security-policy"
"""The policies of ``<meta>`` name hosts by patterns too."""
_JSON_ELEMENTS = (b"importmap", b"speculationrules")
_MOST = 4000
"""Escapes, characters or numbers to look at one by one; a body with more counts as found."""
_MOST_COLONS = 50_000
_MOST_FOLDS = 32
_NESTED = 4
"""Levels of character references: a ``srcdoc`` may contain another one, three deep."""

# A character reference, except the most usual ones, which never help to spell a host.
_REFERENCE = re.compile(
    rb"&(?!(?:amp|lt|gt|quot|apos|nbsp|#(?:39|34|160|x27));)(?:#[xX]?[0-9a-fA-F]*|[a-zA-Z][a-zA-Z0-9]*);?"
)
_CSS_ESCAPE = re.compile(rb"\\(?>[0-9a-fA-F]{1,6}|[\s\S])")
_ENCODED = re.compile(rb"%[2-7c-f][0-9a-f]")
_PART_OF_URL = re.compile(r"[a-zA-Z0-9._/\\:@%\t\n\r-]")

# A scheme without slashes: the URL may be relative, which depends on the scheme of the document.
_WITHOUT_SLASHES = re.compile(rb":(?!//)(?:(?<=http:)|(?<=https:)|(?<=ws:)|(?<=wss:))")
# An IPv4 address in any spelling, after slashes or a user. The mark shows whether to search for it.
_NUMBERS = tuple(
    (mark, re.compile(before + rb"([0-9][0-9a-fx.]*)"))
    for mark, before in ((b"//", rb"//"), (b"\\", rb"\\[/\\]"), (b"\\", rb"/\\"), (b"@", rb"@"))
)
_DENSE = ((b"&", _MOST), (b"\\", _MOST), (b"%", _MOST), (b":", _MOST_COLONS))


class HostSearch:
    """The search for the hosts of these origins.

    ``relocated``: the browser sees the upstream's pages under another scheme; ``words``: further
    words, in lower case, that count as a host.
    """

    def __init__(
        self, origins: Collection[Origin], *, relocated: bool, words: Collection[bytes] = ()
    ) -> None:
        hosts = sorted({origin.host for origin in origins})
        self._hosts = [(host.encode(), _after_slashes(host.encode())) for host in hosts]
        self._numbers = frozenset(host for host in hosts if _NUMBER.fullmatch(host))
        self._has_brackets = any(host.startswith("[") for host in hosts)
        self._relocated = relocated
        self._words = (_POLICY, *words)
        self.is_possible = all(host.isascii() and "xn--" not in host for host in hosts)
        """False for an internationalised name: its spellings are not known here."""

    def finds(self, data: bytes) -> bool:
        """Whether the scanners may find one of the hosts in a whole body.

        Also true if finding out would take long: the search is one step of the event loop.
        """
        if any(data.count(mark) > most for mark, most in _DENSE):
            return True
        plain = _plain(data)
        return self._names(plain) or any(map(self._names, self._readings(data, plain)))

    def _readings(self, data: bytes, plain: bytes) -> Iterator[bytes]:
        """The body without one kind of spelling after the other."""
        for text in _escaped(data, plain):
            if text is not data:
                plain = _plain(text)
                yield plain
            if b"%" in plain and _ENCODED.search(plain) is not None:
                yield _plain(unquote_to_bytes(plain))

    def _names(self, text: bytes) -> bool:
        """Whether a host is in the text, which is in lower case and has no line breaks."""
        if self._has_literal(text) or any(word in text for word in self._words):
            return True
        if b"\\" in text and b"\\u" in text and any(name in text for name in _JSON_ELEMENTS):
            return True  # their strings may be escaped
        if (self._relocated or self._numbers) and _WITHOUT_SLASHES.search(text):
            return True
        if self._numbers and self._has_number(text):
            return True
        if text.isascii():
            return False
        characters = set(text.translate(None, _ASCII).decode("utf-8", "replace"))
        if len(characters) > _MOST:
            return True
        folds = {c: fold for c in characters if (fold := _fold(c)) is not None}
        if len(folds) > _MOST_FOLDS:
            return True
        for character, fold in folds.items():
            text = text.replace(character.encode(), fold.encode())
        return bool(folds) and self._has_literal(text)

    def _has_literal(self, text: bytes) -> bool:
        return any(
            host in text and pattern.search(text) is not None for host, pattern in self._hosts
        )

    def _has_number(self, text: bytes) -> bool:
        if self._has_brackets and any(mark in text for mark in (b"//[", b"\\[", b"@[", b":[")):
            return True
        for mark, pattern in _NUMBERS:
            if mark not in text:
                continue
            for count, found in enumerate(pattern.finditer(text)):
                if count == _MOST or read_host(found[1].decode()) in self._numbers:
                    return True
        return False


def _after_slashes(host: bytes) -> re.Pattern[bytes]:
    name = re.escape(host)
    # Behind the host, so that it is searched for as a literal.
    return re.compile(name + b"(?:%b)" % b"|".join(b"(?<=%b%b)" % (b, name) for b in _BEFORE))


def _plain(data: bytes) -> bytes:
    """The text in lower case, without the characters that the URL parser removes."""
    text = data.lower()
    for removed in (b"\n", b"\t", b"\r"):
        text = text.replace(removed, b"")
    return text


def _escaped(data: bytes, plain: bytes) -> Iterator[bytes]:
    """The body, then without character references, then also without the escapes of CSS."""
    yield data
    is_nested = b"&" in data and b"srcdoc" in plain
    text = data
    for _ in range(_NESTED if is_nested else 1):
        if b"&" in text and (is_nested or _may_spell(_REFERENCE, text, references.decode)):
            text = references.decode(text).encode("utf-8", "surrogateescape")
            yield text
    if b"\\" in text and _may_spell(_CSS_ESCAPE, text, unescape):
        yield unescape(text).encode("utf-8", "surrogateescape")


def _may_spell(pattern: re.Pattern[bytes], text: bytes, read: Callable[[bytes], str]) -> bool:
    """Whether one of the escapes, matches of ``pattern``, may be a part of a URL with a host."""
    return any(_is_part(escape, read(escape)) for escape in set(pattern.findall(text)))


def _is_part(escape: bytes, text: str) -> bool:
    if text.encode("utf-8", "surrogateescape") == escape:
        return False
    if not text or not escape.isascii():  # a continued line; a byte of a character
        return True
    return any(
        _PART_OF_URL.match(c) is not None if c.isascii() else _fold(c) is not None for c in text
    )


@functools.lru_cache(maxsize=4096)
def _fold(character: str) -> str | None:
    """The characters for this one in a host's name (UTS 46), ``None`` if they never spell one."""
    try:
        fold = idna.uts46_remap(character, std3_rules=False, transitional=False)
    except (UnicodeError, idna.IDNAError):
        return None
    return fold if not fold or _HOST_CHARACTER.search(fold) is not None else None
