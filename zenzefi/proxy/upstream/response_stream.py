"""Where the responses of one upstream connection begin and end (RFC 9112, 4 and 6.3).

aiohttp's client protocol, whose parser (llhttp) gets one head at a time and never a byte behind
the end of a response. The parser is lenient with heads; what it would let pass although it can be
read in two ways, or means nothing, is refused here.
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


_RESCUED = 16  # reads of 64 KiB: no more than what may be buffered anyway


def unread_of(transport: asyncio.BaseTransport | None) -> Iterator[bytes]:
    """What the system has received on a connection that has just been lost.

    A failed write ends a transport although bytes may have come before the reset, and asyncio does
    not read them any more. To be called in ``connection_lost``, while the socket is still open.
    Over TLS nothing can be rescued: the keys are the transport's.
    """
    if transport is None or transport.get_extra_info("ssl_object") is not None:
        return
    descriptor = transport.get_extra_info("socket").fileno()
    for _ in range(_RESCUED):
        try:
            data = os.read(descriptor, 64 * 1024)
        except OSError:  # there is none, or only the error is left
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
        self._head = bytearray()  # as much of it as has come
        self._params: dict[str, Any] = {}

    def expect_response(self) -> None:
        """A request is about to be sent: a head comes next."""
        self._stage = _Stage.HEAD
        self._head.clear()

    def set_response_params(self, **params: Any) -> None:
        """How the parser is to read, as aiohttp takes it."""
        self._params = params
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Bytes of the upstream; none: aiohttp lets the parser go on with what it has kept."""
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
                # RFC 9112, 6.3: what follows the end of a response belongs to no response.
                self.force_close()
                return
            data = self._read_head(data)

    def _read_head(self, data: bytes) -> bytes:
        """Take what belongs to the head; returns the rest."""
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
            # That was an interim response. Its version and its Connection line end nothing (RFC
            # 9110, 15.2), yet a parser that has read them takes no further head.
            super().set_response_params(**self._params)
        return rest

    def _read_body(self, data: bytes) -> None:
        body = self._payload
        super().data_received(data)
        if self._exception is not None and body is not None and not body.is_eof():
            # aiohttp would tell whoever reads the body no sooner than the connection is lost.
            body.set_exception(self._exception)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """The parser: a head is complete."""
        message, content = data
        if 100 <= message.code < 200 and message.code != 101:
            self._stage = _Stage.HEAD
        elif content is not EMPTY_PAYLOAD and not content.is_eof():
            self._stage = _Stage.BODY
            content.on_eof(self._end_body)
        elif message.code == 204 and _is_framed(message):
            self.force_close()  # its content, which must not be, may follow at any time
        super().feed_data(data, size)

    def _end_body(self) -> None:
        self._stage = _Stage.DONE

    def rescue(self) -> None:
        """Read what had arrived before the connection broke."""
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
