"""Writes the head and the chunks of a response to the client's transport."""

from __future__ import annotations

import asyncio

LAST_CHUNK = b"0\r\n\r\n"
_JOIN = 16 * 1024  # bytes; a longer body is not copied to be joined with its head


def write_start(
    transport: asyncio.Transport,
    lines: list[bytes],
    request_id: bytes,
    length: int | None,
    first: bytes,
    *,
    is_last: bool,
    is_done: bool,
) -> None:
    """Write the head and ``first``, the part of the body that came with it.

    ``lines`` and ``length`` as in :meth:`~zenzefi.proxy.fast_path.sinks.ResponseSink.head`;
    ``is_last``: the connection is closed after this response; ``is_done``: the body is complete.
    """
    is_chunked = length == -1
    lines += (
        b"X-Request-ID: ",
        request_id,
        b"\r\nTransfer-Encoding: chunked\r\n"
        if is_chunked
        else b"\r\n"
        if length is None
        else b"\r\nContent-Length: %d\r\n" % length,
        b"Connection: close\r\n\r\n" if is_last else b"\r\n",
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


def write_chunk(transport: asyncio.Transport, data: bytes) -> None:
    """Write ``data``, which is not empty, as one chunk (RFC 9112, 7.1)."""
    transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))
