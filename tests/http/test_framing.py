"""Ends of heads and contents are found wherever the bytes are cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenzefi.http.framing import MAX_LINE, MAX_TRAILERS, ChunkedEnd, HeadEnd, SizedEnd

CUTS = st.lists(st.integers(1, 9), max_size=40)
AFTER = st.binary(max_size=20)


def fed(scanner: ChunkedEnd | SizedEnd, data: bytes, cuts: list[int]) -> int:
    """How many bytes the scanner takes of ``data``, cut into pieces."""
    taken = 0
    for size in [*cuts, len(data)]:
        piece = data[taken : taken + size]
        used = scanner.feed(piece)
        taken += used
        if scanner.is_complete or scanner.is_broken:
            break
        assert used == len(piece)
    return taken


@given(st.binary(max_size=60).filter(lambda data: b"\r\n\r\n" not in data + b"\r\n"), AFTER, CUTS)
def test_a_head_ends_at_its_first_empty_line(head: bytes, after: bytes, cuts: list[int]) -> None:
    data = head + b"\r\n\r\n" + after
    end = data.index(b"\r\n\r\n") + 4
    scanner, position = HeadEnd(), 0
    for size in [*cuts, len(data)]:
        piece = data[position : position + size]
        found = scanner.find(piece)
        if found >= 0:
            assert position + found == end == scanner.size
            return
        position += len(piece)
    raise AssertionError("not found")


@given(st.binary(max_size=60), AFTER, CUTS)
def test_a_content_ends_with_its_length(content: bytes, after: bytes, cuts: list[int]) -> None:
    assert fed(SizedEnd(len(content)), content + after, cuts) == len(content)


@given(
    st.lists(st.binary(min_size=1, max_size=20), max_size=4),
    st.sampled_from([b"", b";a=b", b' ; q="x"']),
    st.sampled_from([b"", b"X-A: b\r\n", b"X-A: b\r\nX-B: 0\r\n"]),
    AFTER,
    CUTS,
)
def test_a_chunked_content_ends_behind_its_trailers(
    chunks: Any, extension: bytes, trailers: bytes, after: bytes, cuts: list[int]
) -> None:
    data = b"".join(b"%X%b\r\n%b\r\n" % (len(c), extension, c) for c in chunks)
    data += b"00%b\r\n%b\r\n" % (extension, trailers)
    scanner = ChunkedEnd()
    assert fed(scanner, data + after, cuts) == len(data)
    assert scanner.is_complete
    assert not scanner.is_broken


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"zz\r\n",
        b"+5\r\n",
        b"-5\r\n",
        b"0x5\r\n",
        b"5_0\r\n",
        b" 5\r\n",
        b"5\n",
        b"5\r\r\n",
        b"5 5\r\n",
        b"\xd9\xa5\r\n",
        b"f" * 16 + b"\r\n",
        b"5" * MAX_LINE + b"\r\n",
        b"5;" + b"x" * MAX_LINE,
        b"0\r\nX-A: b\n",
        b"0\r\n" + b"X-A: b\r\n" * (MAX_TRAILERS // 8 + 1),
    ],
)
def test_a_malformed_chunk_is_rejected(data: bytes) -> None:
    scanner = ChunkedEnd()
    scanner.feed(data)
    assert scanner.is_broken
