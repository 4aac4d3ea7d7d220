"""Content codings, streaming and bounded both ways (RFC 9110 section 8.4).

Decoders hand out pieces of at most :data:`PIECE` bytes where their library can bound its output
(zstandard can't; it is fed so little at a time that the result stays small). Encoders use levels
that are never slower than the rewriting itself, and flush after every feed, so that what the
upstream flushed arrives.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import brotli
import zstandard
from isal import isal_zlib
from isal.igzip_lib import IsalError

from zenzefi.errors import UpstreamProtocolError

PIECE = 64 * 1024
"""The most bytes that one step of a decoder hands out."""

MAX_STACK = 3
"""Codings applied to one body; more is nobody's honest answer."""

_ZSTD_WINDOW = 8 * 1024 * 1024  # RFC 9659: content coding zstd needs no larger window
_ALIASES = {"x-gzip": "gzip", "x-deflate": "deflate"}
_PREFERENCE = ("zstd", "br", "gzip", "deflate")
KNOWN = frozenset(_PREFERENCE)


class CorruptBody(UpstreamProtocolError):
    """The upstream's body does not decode; the response can only be cut."""


class Decoder(Protocol):
    """Takes one coding off."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decoded pieces of ``data``. Raises :class:`CorruptBody`."""

    def finish(self) -> None:
        """Raises :class:`CorruptBody` when the body ended in the middle of the coding."""


class Encoder(Protocol):
    """Puts one coding on."""

    def feed(self, data: bytes) -> bytes:
        """Encoded bytes, flushed: the other side can decode all that was fed."""

    def finish(self) -> bytes:
        """The end of the coding."""


class _Inflate:
    """gzip (several members, RFC 1952) and deflate (zlib as RFC 9110 says, raw as some send)."""

    def __init__(self, coding: str) -> None:
        self._gzip = coding == "gzip"
        self._head = b""
        self._machine = isal_zlib.decompressobj(wbits=31) if self._gzip else None
        self._started = False
        self._over = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._over or not data:
            return
        self._started = True
        if self._machine is None:
            data = self._head + data
            if len(data) < 2:
                self._head = data
                return
            is_zlib = data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
            self._machine = isal_zlib.decompressobj(wbits=15 if is_zlib else -15)
        while True:
            try:
                piece = self._machine.decompress(data, PIECE)
            except (IsalError, zlib.error) as error:  # type: ignore[misc] # isal types it wrongly
                raise CorruptBody from error
            if piece:
                yield piece
            if self._machine.eof:
                data = self._machine.unused_data
                if not (self._gzip and data.startswith(b"\x1f")):
                    self._over = True  # padding behind the last member: browsers ignore it too
                    return
                self._machine = isal_zlib.decompressobj(wbits=31)
                continue
            data = self._machine.unconsumed_tail
            if not data and len(piece) < PIECE:
                return

    def finish(self) -> None:
        if self._started and not (self._over or (self._machine and self._machine.eof)):
            raise CorruptBody


class _Brotli:
    """br (RFC 7932)."""

    def __init__(self) -> None:
        self._machine = brotli.Decompressor()
        self._started = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not data or (self._started and self._machine.is_finished()):
            return
        self._started = True
        while True:
            try:
                piece = self._machine.process(data, output_buffer_limit=PIECE)
            except brotli.error as error:
                raise CorruptBody from error
            if piece:
                yield piece
            # It takes more input before all output is out: only a short piece is the last one.
            if self._machine.is_finished() or (
                len(piece) < PIECE and self._machine.can_accept_more_data()
            ):
                return
            data = b""

    def finish(self) -> None:
        if self._started and not self._machine.is_finished():
            raise CorruptBody


class _Zstd:
    """zstd (RFC 8878), one or more frames."""

    def __init__(self) -> None:
        self._context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._machine = self._context.decompressobj()
        self._step = 4096
        self._inside = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        view = memoryview(data)
        while view:
            part, view = bytes(view[: self._step]), view[self._step :]
            while part:
                if self._machine.eof:
                    self._machine = self._context.decompressobj()
                self._inside = True
                try:
                    piece = self._machine.decompress(part)
                except zstandard.ZstdError as error:
                    raise CorruptBody from error
                # A block of four bytes may stand for 128 KiB: the better it compresses, the less
                # is fed at a time.
                self._step = 64 if len(piece) > 64 * len(part) else 4096
                for at in range(0, len(piece), PIECE):
                    yield piece[at : at + PIECE]
                part = b""
                if self._machine.eof:
                    part, self._inside = self._machine.unused_data, False

    def finish(self) -> None:
        if self._inside:
            raise CorruptBody


def decoders(content_encoding: str) -> list[Decoder] | None:
    """Decoders in the order in which they apply, or ``None`` if one of the codings is unknown.

    ``content_encoding`` is the header's value, ``""`` for none.
    """
    names = codings(content_encoding)
    if len(names) > MAX_STACK or not KNOWN.issuperset(names):
        return None
    return [_decoder(name) for name in reversed(names)]


def codings(content_encoding: str) -> list[str]:
    """The codings in the order in which they were applied; ``identity`` says nothing."""
    names = (part.strip().lower() for part in content_encoding.split(","))
    return [_ALIASES.get(name, name) for name in names if name not in ("", "identity")]


def _decoder(name: str) -> Decoder:
    if name == "br":
        return _Brotli()
    if name == "zstd":
        return _Zstd()
    return _Inflate(name)


def decode(stack: Sequence[Decoder], data: bytes) -> Iterator[bytes]:
    """Feed one slice through all decoders; pieces stay small, so a bomb can be stopped."""
    if not stack:
        for at in range(0, len(data), PIECE):
            yield data[at : at + PIECE] if len(data) > PIECE else data
        return
    for piece in stack[0].feed(data):
        yield from decode(stack[1:], piece)


class _Deflate:
    def __init__(self, wbits: int) -> None:
        self._machine = isal_zlib.compressobj(level=1, wbits=wbits)

    def feed(self, data: bytes) -> bytes:
        if not data:
            return b""
        head: bytes = self._machine.compress(data)
        tail: bytes = self._machine.flush(isal_zlib.Z_SYNC_FLUSH)
        return head + tail

    def finish(self) -> bytes:
        tail: bytes = self._machine.flush(isal_zlib.Z_FINISH)
        return tail


class _BrotliEncoder:
    def __init__(self) -> None:
        self._machine = brotli.Compressor(quality=2, lgwin=18)

    def feed(self, data: bytes) -> bytes:
        if not data:
            return b""
        head: bytes = self._machine.process(data)
        tail: bytes = self._machine.flush()
        return head + tail

    def finish(self) -> bytes:
        tail: bytes = self._machine.finish()
        return tail


class _ZstdEncoder:
    def __init__(self) -> None:
        self._machine = zstandard.ZstdCompressor(level=1).compressobj()

    def feed(self, data: bytes) -> bytes:
        if not data:
            return b""
        head = self._machine.compress(data)
        return head + self._machine.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._machine.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)


class _Identity:
    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


_ENCODERS: dict[str, Callable[[], Encoder]] = {
    "gzip": lambda: _Deflate(31),
    "deflate": lambda: _Deflate(15),
    "br": _BrotliEncoder,
    "zstd": _ZstdEncoder,
    "identity": _Identity,
}


def encoder(coding: str) -> Encoder:
    """A new encoder for one of gzip, deflate, br, zstd, identity."""
    return _ENCODERS[coding]()


_QUALITY = re.compile(r"[ \t]*;[ \t]*q[ \t]*=[ \t]*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)[ \t]*", re.I)


def accepted(accept_encoding: str | None) -> dict[str, float]:
    """``Accept-Encoding`` as coding -> quality; a malformed quality refuses its coding."""
    out: dict[str, float] = {}
    for part in (accept_encoding or "").split(","):
        name, semicolon, _ = part.partition(";")
        name = name.strip(" \t").lower()
        if not name:
            continue
        match = _QUALITY.fullmatch(part, len(part.partition(";")[0])) if semicolon else None
        quality = 1.0 if not semicolon else float(match[1]) if match else 0.0
        out.setdefault(_ALIASES.get(name, name), quality)
    return out


def choose(accept_encoding: str | None, applied: Sequence[str]) -> str:
    """The coding for a rewritten body whose upstream applied ``applied``.

    A body that came plain goes plain (a server that does not compress has its reason). Otherwise
    the upstream's own coding if the client takes it, else the best that both know.
    """
    if not applied:
        return "identity"
    wanted = accepted(accept_encoding)
    rest = wanted.get("*", 0.0)
    takes = [name for name in _PREFERENCE if wanted.get(name, rest) > 0]
    if not takes:
        return "identity"
    best = max(wanted.get(name, rest) for name in takes)
    if wanted.get("identity", 0.0) > best:
        return "identity"
    if applied[-1] in takes:
        return applied[-1]
    return next(name for name in takes if wanted.get(name, rest) == best)


def forwardable(accept_encoding: str | None) -> str:
    """What to ask of the upstream: the client's own wish, without codings nobody here knows.

    Dictionary codings (``dcb``, ``dcz``) would make bodies that can't be rewritten.
    """
    parts = []
    for part in (accept_encoding or "").split(","):
        name = part.partition(";")[0].strip(" \t").lower()
        if _ALIASES.get(name, name) in KNOWN or name == "identity":
            parts.append(part.strip(" \t"))
    return ", ".join(parts) or "identity"
