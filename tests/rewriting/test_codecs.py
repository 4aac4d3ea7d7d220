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
    out: list[bytes] = []
    for at in range(0, len(data), size):
        out += codecs.decode(stack, data[at : at + size], codecs.Meter())
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


def raw_deflate(data: bytes) -> bytes:
    machine = zlib.compressobj(wbits=-15)
    return machine.compress(data) + machine.flush()


def skippable(content: bytes) -> bytes:
    """RFC 8878, 3.1.2."""
    return b"\x5a\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


def zstd(data: bytes, *, checksum: bool = True, size: bool = True) -> bytes:
    compressor = zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=size)
    return compressor.compress(data)


def zstd_flushed(*parts: bytes) -> bytes:
    """Several blocks, among them an empty last one."""
    machine = zstandard.ZstdCompressor().compressobj()
    blocks = [machine.compress(p) + machine.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) for p in parts]
    return b"".join(blocks) + machine.flush()


TEXT = b"one, two, three, "
BODIES = {
    "one member": ("gzip", gzip.compress(TEXT), TEXT),
    "an empty member": ("gzip", gzip.compress(b""), b""),
    "several members": ("gzip", gzip.compress(TEXT) * 2 + gzip.compress(b"x"), TEXT * 2 + b"x"),
    "empty members between": (
        "x-gzip",
        gzip.compress(b"") + gzip.compress(TEXT) + gzip.compress(b"") * 2 + gzip.compress(b"x"),
        TEXT + b"x",
    ),
    "padding": ("gzip", gzip.compress(TEXT) + b"\0" * 9, TEXT),
    "zlib": ("deflate", zlib.compress(TEXT), TEXT),
    "raw deflate": ("deflate", raw_deflate(TEXT), TEXT),
    "brotli": ("br", brotli.compress(TEXT), TEXT),
    "one frame": ("zstd", zstd(TEXT), TEXT),
    "no checksum and no size": ("zstd", zstd(TEXT, checksum=False, size=False), TEXT),
    "several frames": ("zstd", zstd(TEXT) + zstd(b"") + zstd(b"x", size=False), TEXT + b"x"),
    "blocks": ("zstd", zstd_flushed(b"a", TEXT * 9, b"c"), b"a" + TEXT * 9 + b"c"),
    "skippable frames": (
        "zstd",
        skippable(b"") + zstd(TEXT) + skippable(b"skipped") + zstd(b"x") + skippable(b"!"),
        TEXT + b"x",
    ),
    "gzip twice": ("gzip, gzip", gzip.compress(gzip.compress(TEXT)), TEXT),
    "members of members": (
        "gzip,identity, gzip",
        gzip.compress(gzip.compress(TEXT)) + gzip.compress(gzip.compress(b"x")),
        TEXT + b"x",
    ),
    "a member cut in two by members": (
        "gzip, gzip",
        b"".join(gzip.compress(bytes((byte,))) for byte in gzip.compress(TEXT)),
        TEXT,
    ),
    "three layers": ("br, zstd, gzip", gzip.compress(zstd(brotli.compress(TEXT))), TEXT),
    "raw deflate in frames": (
        "deflate, zstd",
        zstd(raw_deflate(TEXT)[:1]) + zstd(raw_deflate(TEXT)[1:]),
        TEXT,
    ),
}


@pytest.mark.parametrize("name", sorted(BODIES))
def test_no_cut_makes_a_difference(name: str) -> None:
    coding, body, plain = BODIES[name]
    for size in (1, 2, 3, 7, len(body)):
        assert decode(coding, body, size) == plain
    for at in range(len(body) + 1):
        stack = codecs.decoders(coding)
        assert stack is not None
        out: list[bytes] = []
        for part in (body[:at], body[at:]):
            out += codecs.decode(stack, part, codecs.Meter())
        for decoder in stack:
            decoder.finish()
        assert b"".join(out) == plain, at


@pytest.mark.parametrize("name", sorted(BODIES))
def test_what_is_cut_short_is_a_break_or_a_whole_beginning(name: str) -> None:
    """Only between members and frames a body may end, and then nothing of it is missing."""
    coding, body, plain = BODIES[name]
    ends = set()
    for at in range(1, len(body)):
        try:
            out = decode(coding, body[:at], 5)
        except codecs.CorruptBody:
            continue
        assert plain.startswith(out)
        ends.add(at)
    borders = (
        body.count(b"\x1f\x8b\x08") + body.count(b"\x28\xb5\x2f\xfd") + body.count(b"\x2a\x4d\x18")
    )
    assert len(ends) <= borders + (9 if name == "padding" else 0)


@pytest.mark.parametrize("name", sorted(BODIES))
@pytest.mark.parametrize(
    "garbage", [b"x", b"garbage", b"\0\0x", b"\x1f", b"\x28\xb5", b"\x1f\x8b\x09"]
)
def test_garbage_behind_the_end_is_a_break(name: str, garbage: bytes) -> None:
    coding, body, _ = BODIES[name]
    for size in (1, len(body), len(body) + len(garbage)):
        with pytest.raises(codecs.CorruptBody):
            decode(coding, body + garbage, size)


@given(
    parts=st.lists(st.binary(max_size=40), min_size=1, max_size=6),
    cuts=st.lists(st.integers(1, 60), min_size=1),
    coding=st.sampled_from(["gzip", "zstd", "gzip, zstd", "zstd, gzip", "gzip, gzip"]),
)
def test_members_in_any_number_nesting_and_cut(
    parts: list[bytes], cuts: list[int], coding: str
) -> None:
    pieces = parts
    for layer in coding.split(", "):
        pieces = [ENCODE[layer](piece) for piece in pieces]
    body, at = b"".join(pieces), 0
    out: list[bytes] = []
    stack = codecs.decoders(coding)
    assert stack is not None
    turn = 0
    while at < len(body):
        size = cuts[turn % len(cuts)]
        out += codecs.decode(stack, body[at : at + size], codecs.Meter())
        at, turn = at + size, turn + 1
    for decoder in stack:
        decoder.finish()
    assert b"".join(out) == b"".join(parts)


def zstd_bomb(blocks: int) -> bytes:
    """RLE blocks: four bytes each stand for 128 KiB (RFC 8878, 3.1.1.2.2)."""
    size = 128 * 1024
    block = (size << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = (1 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd\x00" + b"\x38" + block * blocks + last


BOMBS = {
    "empty members of a member": ("gzip, gzip", gzip.compress(gzip.compress(b"") * 200_000)),
    "empty members, three layers": (
        "gzip, gzip, gzip",
        gzip.compress(gzip.compress(gzip.compress(b"") * 2_000_000)),
    ),
    "empty frames": ("zstd, gzip", gzip.compress(zstd(b"") * 200_000)),
    "skippable frames": ("zstd, gzip", gzip.compress(skippable(b"") * 200_000)),
    "empty blocks": (
        "zstd, gzip",
        gzip.compress(b"\x28\xb5\x2f\xfd\x00\x38" + b"\0\0\0" * 2_000_000 + b"\1\0\0"),
    ),
    "blocks of one byte": ("zstd", zstd_bomb(4_000)),
    "zeros": ("gzip, gzip", gzip.compress(gzip.compress(b"\0" * 100_000_000))),
    "zeros in the outer layer": ("br, gzip", gzip.compress(b"\0" * 100_000_000)),
}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_work_of_every_layer_is_counted_and_every_step_is_small(name: str) -> None:
    """Steps between two counts are bounded, so a bomb is stopped when it has cost the budget."""
    coding, body = BOMBS[name]
    stack = codecs.decoders(coding)
    assert stack is not None
    meter, budget = codecs.Meter(), 64 * 1024 * 1024
    steps = last = 0
    try:
        for piece in codecs.decode(stack, body, meter):
            assert len(piece) <= codecs.PIECE
            assert meter.work - last <= 4 * codecs.PIECE
            last, steps = meter.work, steps + 1
            if meter.work > budget:
                break
    except codecs.CorruptBody:
        assert name == "zeros in the outer layer"
    else:
        assert meter.work > budget
        assert steps <= 3 * budget // 1024


def test_stacked_codings_come_off_in_reverse() -> None:
    data = b"text" * 50
    assert decode("gzip, br", brotli.compress(gzip.compress(data)), 9) == data


@pytest.mark.parametrize("coding", sorted(codecs.KNOWN))
def test_every_feed_is_flushed(coding: str) -> None:
    encoder, stack = codecs.encoder(coding), codecs.decoders(coding)
    assert stack is not None
    for word in (b"first", b"second"):
        assert b"".join(codecs.decode(stack, encoder.feed(word), codecs.Meter())) == word


@pytest.mark.parametrize("coding", sorted(codecs.KNOWN))
def test_a_bomb_comes_out_in_small_pieces(coding: str) -> None:
    body = ENCODE[coding](b"\0" * 20_000_000)
    stack = codecs.decoders(coding)
    assert stack is not None
    total = 0
    for piece in codecs.decode(stack, body, codecs.Meter()):
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


def test_unknown_codings_are_not_requested_from_the_upstream() -> None:
    asked = "gzip, deflate, br;q=0.8, zstd, dcb, dcz"
    assert codecs.forwardable(asked) == "gzip, deflate, br;q=0.8, zstd"
    assert codecs.forwardable("dcz") == "identity"
    assert codecs.forwardable("identity") == "identity"
