"""Content codings: round trips, bombs, broken bodies, and what a client is sent."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from zenzefi.rewriting import codecs

ENCODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


def decode(coding: str, data: bytes, size: int) -> bytes:
    stack = codecs.decoders(coding)
    assert stack is not None
    out = []
    for at in range(0, len(data), size):
        out += codecs.decode(stack, data[at : at + size])
    for decoder in stack:
        decoder.finish()
    return b"".join(out)


@pytest.mark.parametrize("coding", sorted(codecs.KNOWN))
@given(data=st.binary(max_size=3000), size=st.integers(1, 200))
def test_whatever_is_encoded_here_decodes_to_the_same(coding: str, data: bytes, size: int) -> None:
    encoder = codecs.encoder(coding)
    parts = [encoder.feed(data[i : i + size]) for i in range(0, len(data), size)]
    assert decode(coding, b"".join(parts) + encoder.finish(), size) == data


@pytest.mark.parametrize("coding", sorted(codecs.KNOWN))
@pytest.mark.parametrize("size", [1, 3, 65536])
def test_bodies_of_other_encoders_are_understood(coding: str, size: int) -> None:
    data = b"<p>some text</p>" * 500
    assert decode(coding, ENCODE[coding](data), size) == data


def test_raw_deflate_is_understood_as_browsers_do() -> None:
    machine = zlib.compressobj(wbits=-15)
    data = b"text" * 100
    assert decode("deflate", machine.compress(data) + machine.flush(), 5) == data


def test_several_members_and_frames_follow_each_other() -> None:
    assert decode("gzip", gzip.compress(b"one ") + gzip.compress(b"two"), 7) == b"one two"
    frame = zstandard.ZstdCompressor().compress
    assert decode("zstd", frame(b"one ") + frame(b"two"), 7) == b"one two"


def test_padding_behind_a_gzip_body_is_ignored() -> None:
    assert decode("gzip", gzip.compress(b"text") + b"\0\0\0", 4) == b"text"


def test_stacked_codings_come_off_in_reverse() -> None:
    data = b"text" * 50
    assert decode("gzip, br", brotli.compress(gzip.compress(data)), 9) == data


@pytest.mark.parametrize("coding", sorted(codecs.KNOWN))
def test_every_feed_is_flushed(coding: str) -> None:
    encoder, stack = codecs.encoder(coding), codecs.decoders(coding)
    assert stack is not None
    for word in (b"first", b"second"):
        assert b"".join(codecs.decode(stack, encoder.feed(word))) == word


@pytest.mark.parametrize("coding", sorted(codecs.KNOWN))
def test_a_bomb_comes_out_in_small_pieces(coding: str) -> None:
    body = ENCODE[coding](b"\0" * 20_000_000)
    stack = codecs.decoders(coding)
    assert stack is not None
    total = 0
    for piece in codecs.decode(stack, body):
        assert len(piece) <= codecs.PIECE
        total += len(piece)
    assert total == 20_000_000


@pytest.mark.parametrize("coding", sorted(codecs.KNOWN))
def test_a_body_that_is_cut_or_garbled_is_an_error(coding: str) -> None:
    body = ENCODE[coding](bytes(range(256)) * 40)
    with pytest.raises(codecs.CorruptBody):
        decode(coding, body[:-4], 50)
    with pytest.raises(codecs.CorruptBody):
        decode(coding, b"\xff" * 200, 50)


@pytest.mark.parametrize("coding", sorted(codecs.KNOWN))
def test_an_empty_body_needs_no_coding(coding: str) -> None:
    assert decode(coding, b"", 1) == b""


@pytest.mark.parametrize("coding", ["dcb", "compress", "gzip, aes128gcm", "gzip,gzip,gzip,gzip"])
def test_unknown_or_too_many_codings_are_left_alone(coding: str) -> None:
    assert codecs.decoders(coding) is None


@pytest.mark.parametrize(
    ("accept", "applied", "expected"),
    [
        ("gzip, deflate, br, zstd", ["gzip"], "gzip"),
        ("gzip, deflate, br, zstd", ["br"], "br"),
        ("gzip", ["br"], "gzip"),
        ("identity", ["br"], "identity"),
        (None, ["gzip"], "identity"),
        ("", ["gzip"], "identity"),
        ("*", ["gzip"], "gzip"),
        ("gzip;q=0, *", ["gzip"], "zstd"),
        ("gzip;q=0", ["gzip"], "identity"),
        ("identity;q=1, gzip;q=0.5", ["gzip"], "identity"),
        ("br;q=0.1, gzip;q=0.9", ["zstd"], "gzip"),
        ("x-gzip", ["gzip"], "gzip"),
        ("gzip;q=oops", ["gzip"], "identity"),
        ("gzip, br", [], "identity"),
    ],
)
def test_a_client_gets_what_it_accepts(
    accept: str | None, applied: list[str], expected: str
) -> None:
    assert codecs.choose(accept, applied) == expected


def test_the_upstream_is_not_asked_for_codings_nobody_here_knows() -> None:
    asked = "gzip, deflate, br;q=0.8, zstd, dcb, dcz"
    assert codecs.forwardable(asked) == "gzip, deflate, br;q=0.8, zstd"
    assert codecs.forwardable("dcz") == "identity"
    assert codecs.forwardable("identity") == "identity"
