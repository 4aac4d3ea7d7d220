"""Decoding of content codings, in steps of bounded work (RFC 9110, 8.4).

A step reads a bounded part of the input and outputs at most :data:`PIECE` bytes (a zstd block: at
most twice that, returned in pieces). The cost of a step is counted in every layer of a body: the
bytes of output, and a charge for each member, frame and block, because many empty ones cost time
without any output. A truncated body, or data after the end of a body, raises :class:`CorruptBody`:
no data is dropped silently.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import brotli
import zstandard
from isal import isal_zlib
from isal.igzip_lib import IsalError

from zenzefi.errors import UpstreamProtocolError

PIECE = 64 * 1024
"""Most bytes that one step of a decoder returns."""

_MEMBER = 16 * 1024
"""Cost of a gzip member or a zstd frame, as bytes of output that take equally long."""
_BLOCK = 1024
"""Cost of a zstd block. It is low because an event stream may be flushed every few bytes."""
_INPUT = 16 * 1024
_LEAST_INPUT = 256
"""Input of one step, in bytes; less if members are short, because each copies the rest of it."""

_ZSTD_WINDOW = 8 * 1024 * 1024  # RFC 9659: content coding zstd needs no larger window


class CorruptBody(UpstreamProtocolError):
    """The upstream's body can't be decoded; the response can only be truncated."""


@dataclass(slots=True)
class Meter:
    """Work of decoding one body, over all its layers, in bytes of output."""

    work: int = 0


class Decoder(Protocol):
    """Decodes one coding."""

    extra: int
    """Work in addition to the output so far: members, frames and blocks, as bytes of output."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decoded pieces of ``data``, one per step, empty ones too. Raises :class:`CorruptBody`."""

    def finish(self) -> None:
        """Raises :class:`CorruptBody` if the body is incomplete."""


class Inflate:
    """gzip (several members, RFC 1952) and deflate (zlib by RFC 9110; some servers send it raw)."""

    def __init__(self, *, is_gzip: bool) -> None:
        self.extra = 0
        self._is_gzip = is_gzip
        self._head = b""
        self._machine: isal_zlib.Decompress | None = None
        self._has_ended = False
        self._is_padding = False
        self._step = _INPUT

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See :class:`Decoder`."""
        at = 0
        while at < len(data):
            part = data[at : at + self._step]
            at += len(part)
            while part:
                part, piece = self._one(part)
                yield piece
                while len(piece) == PIECE and not part and self._machine is not None:
                    part, piece = self._one(b"")
                    yield piece

    def _one(self, part: bytes) -> tuple[bytes, bytes]:
        """One step: the rest of the input, and the output."""
        if self._machine is None:
            part = self._begun(part)
            if self._machine is None:
                return b"", b""
        try:
            piece = self._machine.decompress(part, PIECE)
        except (IsalError, zlib.error) as error:  # type: ignore[misc] # isal types it wrongly
            raise CorruptBody from error
        if not self._machine.eof:
            self._step = min(_INPUT, 2 * self._step)
            return self._machine.unconsumed_tail, piece
        part, self._machine, self._has_ended = self._machine.unused_data, None, True
        self._step = max(_LEAST_INPUT, self._step // 2)
        return part, piece

    def _begun(self, part: bytes) -> bytes:
        """Begin a new member if there is one; returns its input."""
        if self._is_gzip:
            if self._has_ended and (self._is_padding or part[:1] != b"\x1f"):
                # gzip(1) pads with zeros; no data follows them.
                self._is_padding = True
                if part.strip(b"\0"):
                    raise CorruptBody
                return b""
            wbits = 31
        else:
            if self._has_ended:
                raise CorruptBody
            part = self._head + part
            self._head = part if len(part) < 2 else b""
            if self._head:
                return b""
            is_zlib = part[0] & 0x0F == 8 and (part[0] << 8 | part[1]) % 31 == 0
            wbits = 15 if is_zlib else -15
        self._machine = isal_zlib.decompressobj(wbits=wbits)
        self.extra += _MEMBER
        return part

    def finish(self) -> None:
        """See :class:`Decoder`."""
        if self._machine is not None or self._head:
            raise CorruptBody


class Brotli:
    """br (RFC 7932). The library rejects bytes after the end."""

    def __init__(self) -> None:
        self.extra = 0
        self._machine = brotli.Decompressor()
        self._has_started = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See :class:`Decoder`."""
        for at in range(0, len(data), _INPUT):
            self._has_started = True
            part = data[at : at + _INPUT]
            while True:
                try:
                    piece = self._machine.process(part, output_buffer_limit=PIECE)
                except brotli.error as error:
                    raise CorruptBody from error
                for start in range(0, len(piece) or 1, PIECE):  # the library may exceed the limit
                    yield piece[start : start + PIECE]
                # It accepts input before all output is returned: only a short piece is the last.
                if self._machine.is_finished() or (
                    len(piece) < PIECE and self._machine.can_accept_more_data()
                ):
                    break
                part = b""

    def finish(self) -> None:
        """See :class:`Decoder`."""
        if self._has_started and not self._machine.is_finished():
            raise CorruptBody


_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_RLE = 1
_CHECKSUM = 4


class Zstd:
    """zstd (RFC 8878), any number of frames, skippable ones included.

    The library returns all output of its input at once, and four bytes may expand to 128 KiB.
    Therefore the structure of the frames is parsed here, and the library is fed one block at a
    time.
    """

    def __init__(self) -> None:
        self.extra = 0
        self._context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._machine: zstandard.ZstdDecompressionObj | None = None  # while inside a frame
        self._held = b""  # the beginning of a header
        self._left = 0  # bytes of the block, checksum or skippable frame to come
        self._is_skipping = False
        self._is_last = False  # the block is the frame's last
        self._has_checksum = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See :class:`Decoder`."""
        data, self._held = self._held + data, b""
        at = 0
        while at < len(data):
            header = b""
            if not self._left:
                header = data[at : at + self._header_size(data[at : at + 5])]
                if len(header) < self._header_size(header):
                    self._held = header
                    return
                at += len(header)
                self._begin(header)
            part = data[at : at + min(self._left, PIECE)]
            at += len(part)
            self._left -= len(part)
            yield from self._content(header + part)

    def _header_size(self, head: bytes) -> int:
        """Bytes of the header that begins with ``head``, as far as known. Raises CorruptBody."""
        if self._machine is not None:
            return 3  # of a block (RFC 8878, 3.1.1.2)
        if len(head) < 5:
            known = head[:4]
            if not (_ZSTD_MAGIC.startswith(known) or _is_skippable(known)):
                raise CorruptBody
            return 5
        if _is_skippable(head[:4]):
            return 8  # RFC 8878, 3.1.2
        if head[:4] != _ZSTD_MAGIC:
            raise CorruptBody
        flags = head[4]  # RFC 8878, 3.1.1.1
        is_single = flags >> 5 & 1
        content_size = (is_single, 2, 4, 8)[flags >> 6]
        return 5 + (1 - is_single) + (0, 1, 2, 4)[flags & 3] + content_size

    def _begin(self, header: bytes) -> None:
        if self._machine is not None:
            value = int.from_bytes(header, "little")
            self._is_last = bool(value & 1)
            kind, size = value >> 1 & 3, value >> 3
            self._left = 1 if kind == _RLE else size
            self._is_skipping = False
            self.extra += _BLOCK
            return
        self.extra += _MEMBER
        self._is_skipping = header[:4] != _ZSTD_MAGIC
        if self._is_skipping:
            self._left = int.from_bytes(header[4:8], "little")
        else:
            self._machine = self._context.decompressobj()
            self._has_checksum = bool(header[4] & _CHECKSUM)
            self._is_last = False

    def _content(self, part: bytes) -> Iterator[bytes]:
        if self._is_skipping:
            yield b""
            return
        machine = self._machine
        if machine is None:
            raise CorruptBody
        try:
            piece = machine.decompress(part)
        except zstandard.ZstdError as error:
            raise CorruptBody from error
        for at in range(0, len(piece) or 1, PIECE):
            yield piece[at : at + PIECE]
        if self._left or not self._is_last:
            return
        if self._has_checksum:
            self._left, self._has_checksum = 4, False
        elif machine.eof:
            self._machine = None
        else:
            raise CorruptBody

    def finish(self) -> None:
        """See :class:`Decoder`."""
        if self._machine is not None or self._held or self._left:
            raise CorruptBody


def _is_skippable(magic: bytes) -> bool:
    """Whether a frame with this beginning may be skippable: 0x184D2A50 to 0x184D2A5F."""
    return magic[:1] != b"" and magic[0] >> 4 == 5 and b"\x2a\x4d\x18".startswith(magic[1:4])


def decoder(coding: str) -> Decoder:
    """A decoder for one of gzip, deflate, br, zstd."""
    if coding == "br":
        return Brotli()
    if coding == "zstd":
        return Zstd()
    return Inflate(is_gzip=coding == "gzip")


def decode(stack: Sequence[Decoder], data: bytes, meter: Meter) -> Iterator[bytes]:
    """Feed one slice through all decoders, step by step; a step without output yields ``b""``.

    The work of each step of each layer is added to ``meter`` before the step's output is yielded,
    so that the caller can stop a body that costs too much.
    """
    if not stack:
        for at in range(0, len(data), PIECE):
            yield data[at : at + PIECE] if len(data) > PIECE else data
        return
    first, rest = stack[0], stack[1:]
    before = first.extra
    for piece in first.feed(data):
        meter.work += len(piece) + first.extra - before
        before = first.extra
        if rest and piece:
            yield from decode(rest, piece, meter)
        else:
            yield piece
