"""Where the responses of one upstream connection begin and end (RFC 9112, 4 and 6.3).

Theory of operation
-------------------

The class is aiohttp's client protocol. Its parser (llhttp) is lenient: it accepts ambiguous heads,
and reads the bytes behind a response as the next response. Therefore the parser gets one complete
head at a time, and only after that head was checked here.

Stages, from the next byte's point of view::

    DONE --expect_response--> HEAD --final head--> BODY --end of the body--> DONE
                              |  ^                 (without a body: DONE at once)
                              +--+ interim head (1xx except 101)

- HEAD: bytes are collected up to the empty line, at most :data:`MAX_HEAD`. The head must begin with
  ``HTTP/1.``, have a valid status line, and have neither bare CR nor obs-fold.
- BODY: bytes are passed to the parser, which finds the end of the body.
- DONE: any byte closes the connection (RFC 9112, 6.3: it belongs to no response).
- After a 101 the parser is upgraded and all bytes pass.

Invariants:

- The parser never sees a byte of a head that was not checked, nor a byte behind a response.
- A refused head closes the connection, and the reader gets an ``HttpProcessingError``.
- A broken body is reported to its reader at once, not only when the connection is lost.
"""

from __future__ import annotations

import asyncio
import enum
import os
import re
from collections.abc import Iterator
from typing import Any

from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from zenzefi.http.framing import STATUS_LINE

MAX_HEAD = 256 * 1024
"""Bytes of a response's head."""

_VERSION = b"HTTP/1."
# RFC 9112, 2.2: a recipient may take a single LF for the end of a line.
_HEAD_END = re.compile(rb"\n\r?\n")
# A bare CR and obs-fold (RFC 9112, 2.2 and 5.2).
_AMBIGUOUS = re.compile(rb"\r(?!\n)|\n[ \t]")


_MAX_RESCUE_READS = 16  # of 64 KiB each: not more than may be buffered anyway


def unread_of(transport: asyncio.BaseTransport | None) -> Iterator[bytes]:
    """The bytes in the socket's receive buffer of a connection that has just been lost.

    A failed write ends a transport although bytes may have arrived before the reset, and asyncio
    does not read them any more. Call it in ``connection_lost``, while the socket is still open.
    Over TLS there is nothing to return, because only the transport has the keys.
    """
    if transport is None or transport.get_extra_info("ssl_object") is not None:
        return
    descriptor = transport.get_extra_info("socket").fileno()
    for _ in range(_MAX_RESCUE_READS):
        try:
            data = os.read(descriptor, 64 * 1024)
        except OSError:  # the buffer is empty, or the socket has an error
            return
        if not data:
            return
        yield data


class _Stage(enum.Enum):
    HEAD = enum.auto()
    BODY = enum.auto()
    DONE = enum.auto()


class ResponseStream(ResponseHandler):
    """A connection to the upstream on which responses are read one after the other."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._stage = _Stage.DONE
        self._head = bytearray()  # the received part of it
        self._params: dict[str, Any] = {}

    def expect_response(self) -> None:
        """Expect a head next: a request is about to be sent."""
        self._stage = _Stage.HEAD
        self._head.clear()

    def set_response_params(self, **params: Any) -> None:
        """Set the parser's options, with aiohttp's names."""
        self._params = params
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Bytes from the upstream. aiohttp passes none to let the parser continue."""
        if not data:
            super().data_received(data)
        while data:
            if self._upgraded:
                super().data_received(data)
                return
            if self._stage is _Stage.BODY:
                self._read_body(data)
                return
            if self._stage is _Stage.DONE:
                # RFC 9112, 6.3: bytes after the end of a response belong to no response.
                self.force_close()
                return
            data = self._read_head(data)

    def _read_head(self, data: bytes) -> bytes:
        """Consume the bytes of the head; returns the rest."""
        head = self._head
        searched = max(0, len(head) - 2)
        head += data if head else data.lstrip(b"\r\n")
        if not head.startswith(_VERSION[: len(head)]):
            self._refuse("no status line")
            return b""
        match = _HEAD_END.search(head, searched)
        if (match.end() if match else len(head)) > MAX_HEAD:
            self._refuse("the head is too large")
            return b""
        if match is None:
            self._reschedule_timeout()
            return b""
        whole, rest = bytes(head[: match.end()]), bytes(head[match.end() :])
        head.clear()
        line = whole.partition(b"\n")[0].removesuffix(b"\r")
        if STATUS_LINE.fullmatch(line) is None or _AMBIGUOUS.search(whole):
            self._refuse("malformed")
            return b""
        self._stage = _Stage.DONE  # unless the parser finds a message in it
        super().data_received(whole)
        if self._stage is _Stage.HEAD:
            # It was an interim response. Its version and its Connection line do not end the
            # connection (RFC 9110, 15.2), but the parser would accept no further head.
            super().set_response_params(**self._params)
        return rest

    def _read_body(self, data: bytes) -> None:
        body = self._payload
        super().data_received(data)
        if self._exception is not None and body is not None and not body.is_eof():
            # aiohttp would report it to the reader only when the connection is lost.
            body.set_exception(self._exception)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Called by the parser when a head is complete."""
        message, content = data
        if 100 <= message.code < 200 and message.code != 101:
            self._stage = _Stage.HEAD
        elif content is not EMPTY_PAYLOAD and not content.is_eof():
            self._stage = _Stage.BODY
            content.on_eof(self._end_body)
        elif message.code == 204 and _is_framed(message):
            self.force_close()  # a 204 has no content, but this one announces some
        super().feed_data(data, size)

    def _end_body(self) -> None:
        self._stage = _Stage.DONE

    def rescue(self) -> None:
        """Read the bytes that arrived before the connection broke."""
        for data in unread_of(self.transport):
            self.data_received(data)

    def _refuse(self, reason: str) -> None:
        self._stage = _Stage.DONE
        self._head.clear()
        if self.transport is not None:
            self.transport.close()
        self.set_exception(HttpProcessingError(message=reason))


def _is_framed(message: RawResponseMessage) -> bool:
    return "Transfer-Encoding" in message.headers or (
        message.headers.get("Content-Length", "0").strip("0") != ""
    )
