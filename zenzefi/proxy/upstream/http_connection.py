"""One HTTP/1.1 connection to the upstream, for one exchange at a time.

aiohttp's client protocol with its C parser (llhttp), without the sessions, redirects, cookie jars
and decompression above it.
"""

from __future__ import annotations

import asyncio
import ssl

from aiohttp import ClientPayloadError
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

from zenzefi.proxy.upstream.ownership import UpstreamConnection
from zenzefi.proxy.upstream.response_stream import ResponseStream
from zenzefi.proxy.upstream.slots import Slot

_MAX_LINE = 64 * 1024
_MAX_FIELD = 64 * 1024
_MAX_FIELDS = 256
_READ_BUFFER = 128 * 1024  # bytes; reading pauses at twice this size


def is_proper_end(transport: asyncio.BaseTransport | None) -> bool:
    """Whether the upstream itself has ended the connection; call it in ``eof_received``.

    Over TLS that takes a closure alert (close_notify). An attacker on the network can end the TCP
    stream without one (truncation attack, RFC 9112, 9.8), and asyncio reports both as EOF.
    """
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    if tls is None:
        return True
    try:
        return not tls.read(1)  # empty after the alert; without one OpenSSL raises SSLWantReadError
    except ssl.SSLError:
        return False


class HttpConnection(ResponseStream, UpstreamConnection):
    """One connection of the standard path to the upstream."""

    def __init__(self, loop: asyncio.AbstractEventLoop, slot: Slot) -> None:
        ResponseStream.__init__(self, loop)
        UpstreamConnection.__init__(self, slot)
        self.is_reused = False
        self.got_bytes = False
        self._got_eof = False
        self._is_head_due = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_seconds = 0.0

    def data_received(self, data: bytes) -> None:
        """Unsolicited bytes close the connection: they must not begin the next response."""
        if self.is_idle:
            self.abort()
            return
        self.got_bytes = True
        if self._is_head_due and self._head_timer is None:
            # Each byte restarts the read timeout; this timer limits a head that trickles in.
            self._head_timer = self._loop.call_later(self._head_seconds, self._on_read_timeout)
        super().data_received(data)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Called by the parser when a head is complete."""
        self._stop_head_timer()
        self._is_head_due = 100 <= data[0].code < 200 and data[0].code != 101
        super().feed_data(data, size)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def eof_received(self) -> None:
        """The upstream has ended the connection."""
        self._got_eof = is_proper_end(self.transport)
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        """A reset does not end a read-until-close body.

        Neither does TLS without close_notify (truncation attack, RFC 9112 9.8).
        """
        if exc is not None:
            self.rescue()
        self._stop_head_timer()
        self.lost()
        payload = self._payload
        is_broken = exc is not None or not self._got_eof
        if is_broken and payload is not None and not payload.is_eof():
            payload.set_exception(ClientPayloadError("the connection broke"))
        super().connection_lost(exc)

    def begin(self, method: str, read_timeout: float) -> None:
        """Prepare for the response to one request; ``read_timeout`` is in seconds."""
        self.got_bytes = False
        self.expect_response()
        self._is_head_due = True
        self._head_seconds = read_timeout
        self.set_response_params(
            skip_payload=method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=read_timeout,
            read_bufsize=_READ_BUFFER,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_FIELD,
            max_headers=_MAX_FIELDS,
        )

    def detach(self) -> asyncio.Transport | None:
        """Its transport, which belongs to the caller from now on (WebSocket)."""
        transport, self.transport = self.transport, None
        return transport

    async def drain(self) -> None:
        """Wait until the write buffer is below its limit."""
        await self._drain_helper()

    @property
    def is_usable(self) -> bool:
        """Whether another request may be sent on it."""
        return self.is_connected() and not self.should_close
