"""Content codings: known ones, negotiation and encoding (RFC 9110, 8.4).

Encoders use levels that are not slower than the rewriting itself. They flush after every feed, so
that flushed data of the upstream reaches the client. :mod:`zenzefi.rewriting.decoding` decodes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Protocol

import brotli
import zstandard
from isal import isal_zlib

from zenzefi.http_syntax import weights
from zenzefi.rewriting.decoding import PIECE, CorruptBody, Decoder, Meter, decode, decoder

__all__ = ["PIECE", "CorruptBody", "Decoder", "Encoder", "Meter", "decode", "decoders"]

MAX_STACK = 3
"""Most codings of one body that are decoded; a body with more passes unchanged."""

_ALIASES = {"x-gzip": "gzip", "x-deflate": "deflate"}
_PREFERENCE = ("zstd", "br", "gzip", "deflate")
KNOWN = frozenset(_PREFERENCE)
_REGISTERED = KNOWN | {"compress", "x-compress", "aes128gcm", "exi", "pack200-gzip", "dcb", "dcz"}
"""The content codings that exist (RFC 9110, 8.4.1, and the IANA registry)."""


class Encoder(Protocol):
    """Applies one coding."""

    def feed(self, data: bytes) -> bytes:
        """Encoded bytes, flushed: the client can decode everything that was fed."""

    def finish(self) -> bytes:
        """The end of the coding."""


def decoders(content_encoding: str) -> list[Decoder] | None:
    """Decoders in the order in which they apply, or ``None`` if one of the codings is unknown.

    ``content_encoding`` is the header's value, ``""`` for none.
    """
    names = codings(content_encoding)
    if len(names) > MAX_STACK or not KNOWN.issuperset(names):
        return None
    return [decoder(name) for name in reversed(names)]


@functools.lru_cache(maxsize=256)
def codings(content_encoding: str) -> tuple[str, ...]:
    """The codings in the order in which they were applied, without ``identity``.

    A value without any coding (``utf-8``, ``none``, ``binary``) counts as none: browsers ignore it.
    """
    names = [part.strip().lower() for part in content_encoding.split(",")]
    if _REGISTERED.isdisjoint(_ALIASES.get(name, name) for name in names):
        return ()
    return tuple(_ALIASES.get(name, name) for name in names if name not in ("", "identity"))


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


def accepted(accept_encoding: str | None) -> dict[str, float]:
    """``Accept-Encoding`` as coding -> weight; a malformed weight refuses its coding."""
    out: dict[str, float] = {}
    for name, weight in weights(accept_encoding or "").items():
        out.setdefault(_ALIASES.get(name, name), weight)
    return out


def choose(accept_encoding: str | None, applied: Sequence[str]) -> str:
    """The coding for a rewritten body whose upstream applied ``applied``.

    A body without a coding stays without one: the server has a reason not to compress. Otherwise
    the upstream's coding if the client accepts it, else the best coding that both support.
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
    """``Accept-Encoding`` for the upstream: the client's, without codings unknown to the gate.

    Bodies in dictionary codings (``dcb``, ``dcz``) can't be rewritten.
    """
    parts = []
    for part in (accept_encoding or "").split(","):
        name = part.partition(";")[0].strip(" \t").lower()
        if _ALIASES.get(name, name) in KNOWN or name == "identity":
            parts.append(part.strip(" \t"))
    return ", ".join(parts) or "identity"
