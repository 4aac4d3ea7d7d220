"""Heads of responses, taken apart line by line."""

from __future__ import annotations

import contextlib
from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenzefi.errors import UpstreamProtocolError
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.proxy.forwarding.head_table import HeadTable
from zenzefi.proxy.upstream.response_head import read_plain, validate_head

UPSTREAM = Origin("http", "upstream.test", 80)
MOUNT = Mount(MountKind.PREFIX, Origin("http", "gate.test", 8000), "/api/v1/proxy")
LINES = [
    b"HTTP/1.1 200 OK",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 100 Continue",
    b"Content-Type: image/png",
    b"Content-Type: text/html",
    b"Content-Length: 5",
    b"Content-Length: 7",
    b"Content-Length: +5",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Location: /x",
    b"Set-Cookie: a=b; Path=/",
    b"X: y",
    b" folded",
    b"no colon",
    b"",
]


def rows() -> HeadTable:
    return HeadTable(UPSTREAM, MOUNT, lambda label: label == b"text/html", frozenset([b"location"]))


def head(*lines: bytes) -> bytes:
    return b"\r\n".join(lines) + b"\r\n\r\n"


def test_a_usual_head_leaves_without_its_framing() -> None:
    read = rows().read(
        head(b"HTTP/1.1 200 OK", b"Content-Type: image/png", b"Content-Length: 5", b"X:  y ")
    )
    assert b"".join(read.lines) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nX: y\r\nCache-Control: private\r\n"
    )
    assert (read.status, read.length, read.is_chunked) == (200, 5, False)
    assert (read.is_usual, read.may_reuse) == (True, True)


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Type: text/html"],
        [b"Content-Type: image/png", b"Location: /x"],
        [b"Content-Type: image/png", b"Connection: close, X"],
        [b"X: y"],
    ],
    ids=["rewritten", "mapped", "hop by hop", "no type"],
)
def test_a_head_that_the_engine_must_examine_is_unusual(lines: list[bytes]) -> None:
    assert not rows().read(head(b"HTTP/1.1 200 OK", *lines)).is_usual


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_a_response_without_content_needs_no_type(status: bytes) -> None:
    assert rows().read(head(b"HTTP/1.1 " + status, b'ETag: "x"')).is_usual


@pytest.mark.parametrize("start", [b"HTTP/1.0 200 OK", b"HTTP/1.1 200 OK"])
def test_a_connection_that_ends_is_not_used_again(start: bytes) -> None:
    closing = [b"Connection: close"] if start.startswith(b"HTTP/1.1") else []
    assert not rows().read(head(start, b"Content-Type: image/png", *closing)).may_reuse


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 5", b"Content-Length: 7"],
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: gzip, chunked"],
    ],
    ids=["two lengths", "two framings", "a coding nobody asked for"],
)
def test_contradicting_framings_are_refused_also_when_every_line_is_known(
    lines: list[bytes],
) -> None:
    table = rows()
    for line in lines:
        with contextlib.suppress(UpstreamProtocolError):
            table.read(head(b"HTTP/1.1 200 OK", line))
    with pytest.raises((UpstreamProtocolError, httptools.HttpParserError)):
        table.read(head(b"HTTP/1.1 200 OK", *lines))


def test_a_status_line_is_no_header_even_when_it_is_known() -> None:
    table = rows()
    table.read(head(b"HTTP/1.1 200 OK", b"X: y"))
    with pytest.raises(UpstreamProtocolError):
        table.read(head(b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK"))
    with pytest.raises(UpstreamProtocolError):
        table.read(head(b"X: y", b"HTTP/1.1 200 OK"))


def test_switching_protocols_is_refused() -> None:
    with pytest.raises((UpstreamProtocolError, httptools.HttpParserError)):
        rows().read(head(b"HTTP/1.1 101 Switching Protocols", b"X: y"))


@given(st.lists(st.lists(st.sampled_from(LINES), min_size=1, max_size=6), max_size=12))
def test_a_malformed_head_is_never_accepted_even_with_known_lines(heads: Any) -> None:
    table = rows()
    for lines in heads:
        whole = head(*lines)
        try:
            read = table.read(whole)
        except (UpstreamProtocolError, httptools.HttpParserError):
            continue
        validate_head(whole)
        assert read == rows().read(whole)


@given(
    st.lists(st.sampled_from([*LINES, b"X:  y \t", b"x:", b"X-Y: \xe9;a:b"]), max_size=6),
    st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.0 404 ", b"HTTP/1.1 304", b"HTTP/1.1 204 a  b"]),
)
def test_the_pairs_of_stored_lines_are_those_of_the_parser(
    lines: list[bytes], first: bytes
) -> None:
    table, raw = rows(), head(first, *lines)
    for _ in range(2):
        try:
            read = table.read(raw)
        except (UpstreamProtocolError, httptools.HttpParserError):
            return
        assert read.plain(raw) == read_plain(raw)
