"""Heads of responses, read strictly and leniently, in pieces."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenzefi.errors import UpstreamProtocolError
from zenzefi.proxy.upstream.response_head import (
    FoundHead,
    HeadCollector,
    PlainHead,
    PlainHeadReader,
    read_head,
)

HEAD = b"HTTP/1.1 200 Fine\r\nA: b\r\nContent-Length: 2\r\n\r\n"
SLOPPY = {
    "LF line ends": HEAD.replace(b"\r\n", b"\n"),
    "one LF": HEAD.replace(b"\r\n", b"\n", 1),
    "a CRLF at the end only": HEAD.replace(b"\r\n", b"\n")[:-1] + b"\r\n",
    "empty lines before it": b"\r\n\n" + HEAD,
}
AMBIGUOUS = {
    "a bare CR": HEAD.replace(b"b\r\n", b"b\rc\r\n"),
    "obs-fold": HEAD.replace(b"b\r\n", b"b\r\n c\r\n"),
    "obs-fold after LF": HEAD.replace(b"b\r\n", b"b\n\tc\n"),
    "NUL": HEAD.replace(b"b\r\n", b"b\0\r\n"),
    "a space before the colon": HEAD.replace(b"A:", b"A :"),
    "a line without a colon": HEAD.replace(b"A: b", b"A"),
    "another protocol": HEAD.replace(b"HTTP/1.1", b"ICY"),
    "HTTP/2": HEAD.replace(b"HTTP/1.1", b"HTTP/2"),
    "two lengths": HEAD.replace(b"A: b", b"Content-Length: 3"),
    "two lengths after LF": HEAD.replace(b"A: b\r\n", b"Content-Length: 3\n"),
    "both framings": HEAD.replace(b"A: b", b"Transfer-Encoding: chunked"),
    "both framings after LF": HEAD.replace(b"A: b\r\n", b"Transfer-Encoding: chunked\n"),
    "another coding": HEAD.replace(b"Content-Length: 2", b"Transfer-Encoding: gzip"),
    "too many lines": HEAD.replace(b"A: b\r\n", b"A: b\r\n" * 257),
    "a long line": HEAD.replace(b"b", b"b" * 70_000),
    "a long line after LF": HEAD.replace(b"b", b"b" * 70_000).replace(b"\r\n", b"\n"),
    "a long head": HEAD.replace(b"A: b\r\n", b"A: %b\r\n" % (b"b" * 60_000) * 5),
    "a long head without an end": HEAD[:-4] + b"A: b\r\n" * 60_000,
}


def read(data: bytes, cut: int | None = None) -> FoundHead:
    """Read the head of a response that arrives in one piece, or in two."""
    collector = HeadCollector()
    pieces = (data,) if cut is None else (data[:cut], data[cut:])
    for piece in pieces:
        collected = collector.feed(piece) if piece else None
        if collected is None:
            continue
        found = read_head(PlainHeadReader(), *collected)
        if found is not None:
            return found
        collector.keep(collected[0])
    raise AssertionError("the head is incomplete")


def plain(found: FoundHead) -> PlainHead:
    assert isinstance(found.facts, PlainHead)
    return found.facts


def test_a_well_formed_head_is_read_strictly() -> None:
    found = read(HEAD + b"hi")
    assert (found.raw, found.size, found.is_sloppy) == (HEAD, len(HEAD), False)
    headers = [(b"A", b"b"), (b"Content-Length", b"2")]
    assert found.facts == PlainHead(200, 2, False, True, b"Fine", headers)


@pytest.mark.parametrize("sloppy", SLOPPY.values(), ids=SLOPPY.keys())
@pytest.mark.parametrize("body", [b"", b"hi", b"x\r\n\r\ny", b"x\n\ny"])
def test_a_sloppy_head_is_read_as_the_same_head_with_crlf(sloppy: bytes, body: bytes) -> None:
    found = read(sloppy + body)
    assert (found.raw, found.size, found.is_sloppy) == (HEAD, len(sloppy), True)
    assert found.facts == read(HEAD).facts


def test_control_characters_in_a_value_are_kept() -> None:
    head = HEAD.replace(b"A: b", b"A: b\x01\x7fc")
    assert plain(read(head)).headers[0] == (b"A", b"b\x01\x7fc")
    assert read(head.replace(b"\r\n", b"\n")).facts == read(head).facts


@pytest.mark.parametrize("head", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_what_two_parsers_could_read_differently_is_refused(head: bytes) -> None:
    with pytest.raises((UpstreamProtocolError, httptools.HttpParserError)):
        read(head)


@pytest.mark.parametrize(
    ("head", "may_reuse"),
    [
        (HEAD, True),
        (HEAD.replace(b"A: b", b"Connection: keep-alive"), True),
        (HEAD.replace(b"A: b", b"Connection: X-A, Close"), False),
        (HEAD.replace(b"HTTP/1.1", b"HTTP/1.0"), False),
        (HEAD.replace(b"200", b"204"), False),
        (HEAD.replace(b"200", b"204").replace(b"Content-Length: 2", b"Content-Length: 0"), True),
    ],
)
def test_a_head_says_whether_the_connection_can_be_used_again(head: bytes, may_reuse: bool) -> None:
    assert read(head).facts.may_reuse is may_reuse


def test_the_head_of_a_101_is_complete() -> None:
    head = b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    found = read(head + b"\x81\x02hi")
    assert (found.facts.status, found.size) == (101, len(head))


@given(st.data())
def test_the_pieces_of_a_head_make_no_difference(data: st.DataObject) -> None:
    head = data.draw(st.sampled_from([HEAD, *SLOPPY.values()])) + b"hi"
    cut = data.draw(st.integers(1, len(head)))
    whole, found = read(head), read(head, cut)
    assert found == whole
