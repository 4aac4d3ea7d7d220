"""Writes the head and the chunks of a response to the client's transport.

The bytes of a head are written here and nowhere else. Headers are bytes: what is not UTF-8 (a
``Content-Disposition`` in latin-1, say) passes unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

LAST_CHUNK = b"0\r\n\r\n"
_JOIN = 16 * 1024  # bytes; a longer body is not copied to be joined with its head


def write_start(
    transport: asyncio.Transport,
    lines: list[bytes],
    request_id: bytes,
    length: int | None,
    first: bytes,
    connection: bytes,
    *,
    is_done: bool,
) -> None:
    """Write the head and ``first``, the part of the body that came with it.

    ``lines`` and ``length`` as in ``RewritingClient.head``
    (:mod:`zenzefi.proxy.forwarding.rewritten_response`);
    ``connection``: the ``Connection`` lines and the head's end; ``is_done``: the body is complete.
    """
    is_chunked = length == -1
    if request_id:
        lines += (b"X-Request-ID: ", request_id, b"\r\n")
    lines += (
        b"Transfer-Encoding: chunked\r\n"
        if is_chunked
        else b""
        if length is None
        else b"Content-Length: %d\r\n" % length,
        connection,
    )
    if is_chunked:
        if first:
            lines += (b"%x\r\n" % len(first), first, b"\r\n")
        if is_done:
            lines.append(LAST_CHUNK)
        transport.write(b"".join(lines))
    elif len(first) > _JOIN:
        transport.writelines((b"".join(lines), first))
    else:
        lines.append(first)
        transport.write(b"".join(lines))


def connection_end(status: int, *, is_last: bool, is_http_10: bool) -> bytes:
    """The ``Connection`` lines and the empty line behind them (RFC 9112, 9).

    ``is_last``: the connection is closed after this response.
    """
    if status == 101:
        return b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    if is_last:
        return b"\r\n" if is_http_10 else b"Connection: close\r\n\r\n"
    return b"Connection: keep-alive\r\n\r\n" if is_http_10 else b"\r\n"


def interim_head(status: int, pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A 1xx response as bytes."""
    reason = b"Continue" if status == 100 else b""
    lines = [b"HTTP/1.1 %d %b" % (status, reason), *(b"%b: %b" % pair for pair in pairs)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def write_chunk(transport: asyncio.Transport, data: bytes) -> None:
    """Write ``data``, which is not empty, as one chunk (RFC 9112, 7.1)."""
    transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))
