"""The client's side of a request's content on the fast path.

A raw content is one that does not pass the parser, because its request was recognised. It has a
length; the scanner of :mod:`zenzefi.http.framing` finds its end.
"""

from __future__ import annotations

import abc
import asyncio
import re
from typing import Any

from aiohttp import web
from aiohttp.streams import StreamReader

from zenzefi.errors import BadRequest, GateError
from zenzefi.http.request_handler import LINGER_SECONDS
from zenzefi.http.request_stream import Phase
from zenzefi.proxy.forwarding.client_response import ForwardingResponse
from zenzefi.proxy.forwarding.known_request import KnownRequest
from zenzefi.proxy.forwarding.receiver import choose_receiver
from zenzefi.proxy.forwarding.upload import Upload
from zenzefi.proxy.method_override import ContentInspection
from zenzefi.proxy.rewriter import MappedHead
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.sinks import ResponseStart

_RANGE = re.compile(rb"(?i)\r\n(?:if-)?range:[^\r\n]*")


class ForwardingContent(ForwardingResponse):
    """One connection from a client: the part that passes the content of a request on."""

    __slots__ = ("_is_raw", "_linger_timer", "_rest")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._is_raw = False
        self._rest: StreamReader | None = None  # the raw content, as the standard path sees it
        self._linger_timer: asyncio.TimerHandle | None = None

    def begin(self, connection: UpstreamConnection, response: ResponseStart) -> None:
        """See :class:`~zenzefi.proxy.upstream.sinks.ResponseSink`."""
        if self._upload is not None and self._upload.is_waiting:
            self.drop_upload()  # this response takes the place of the invitation
        if response.read.status == 206 and self._asks_for_whole(response):
            connection.abandon()
            self._connection = None
            self.send_request()
            return
        choose_receiver(self, connection, self.settle(connection, response))

    def _asks_for_whole(self, response: ResponseStart) -> bool:
        """Whether the whole body is needed; then the request was changed accordingly."""
        known = self._known
        head, end, content = self._outgoing.partition(b"\r\n\r\n")
        whole = _RANGE.sub(b"", head)
        if known is None or self._upload is not None or whole == head:
            return False
        received = MappedHead(response.plain(), has_body=response.has_body)
        if not self._forwarding.http.must_refetch(self.for_engine(known), received):
            return False
        self._outgoing = whole + end + content
        return True

    @abc.abstractmethod
    def send_request(self) -> None:
        """Send the request, on any connection."""

    def _new_upload(
        self,
        known: KnownRequest,
        length: int | None,
        inspection: ContentInspection | None,
        *,
        is_parsed: bool,
    ) -> Upload:
        return Upload(
            self,
            length,
            self._forwarding.upstream.read_timeout,
            inspection=inspection,
            expects_continue=known.expects_continue,
            is_parsed=is_parsed,
        )

    def send_continue(self) -> None:
        """See :class:`~zenzefi.proxy.forwarding.upload.UploadingClient`."""
        if self._phase is Phase.CONTENT:
            self.write_interim(100, [])

    def content_wanted(self) -> None:
        """See :class:`~zenzefi.proxy.forwarding.upload.UploadingClient`."""
        self._advance()

    def _read_content(self) -> bool:
        upload = self._upload
        if upload is not None and upload.is_cut:
            if isinstance(self._connection, UpstreamConnection):
                return False  # it reports its end next, and the request may be sent again
            self.drop_upload()
            upload = None
        if upload is None:
            return self._skip_content() if self._is_raw else super()._read_content()
        if upload.is_blocked:
            return False
        try:
            if upload.is_parsed:
                super()._read_content()
                self._take_parsed(upload, self._last_content)
            else:
                self._take_raw(upload)
        except GateError as error:
            upload.fail(error)
        return True

    def _take_raw(self, upload: Upload) -> None:
        data, end = self._unread, self._end
        used = end.feed(data)
        self._unread = data[used:]
        is_last = end.is_complete
        if is_last:
            self._phase = Phase.START
        upload.take(data[:used], is_last=is_last)

    @staticmethod
    def _take_parsed(upload: Upload, content: StreamReader) -> None:
        is_last = False
        while not is_last:
            try:
                data = content.read_nowait()
            except web.RequestPayloadError:
                raise BadRequest("The request's content is not framed properly.") from None
            is_last = content.is_eof()
            if not data and not is_last:
                return
            upload.take(data, is_last=is_last)

    def _skip_content(self) -> bool:
        """Drop the rest of a content that nothing needs."""
        data, end = self._unread, self._end
        self._unread = data[end.feed(data) :]
        if end.is_complete:
            self._phase = Phase.START
            if self._rest is not None:
                self._rest.feed_eof()
            if self._linger_timer is not None:
                self.force_close()
        elif end.is_broken:
            self.force_close()
        return True

    def drop_upload(self) -> None:
        upload, self._upload = self._upload, None
        if upload is not None:
            self._received += upload.received
            upload.stop()

    def end_connection(self) -> None:
        """Close the connection; a client that still sends gets a moment to read the response."""
        if self._phase is not Phase.CONTENT:
            self.force_close()
            return
        self._close = self._is_raw = True
        self._linger_timer = self._loop.call_later(LINGER_SECONDS, self.force_close)
        self._loop.call_soon(self._advance)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.drop_upload()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        super().connection_lost(exc)
