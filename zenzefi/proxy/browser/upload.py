"""The content of a request that flows to the upstream while it arrives from the client.

Theory of operation
-------------------

The client's connection asks :attr:`Upload.is_blocked` before it takes bytes of the content, and
passes them to :meth:`Upload.take`. Bytes that it may not take yet stay where they are; reading from
the client pauses when too many wait (:mod:`zenzefi.http.request_stream`). States::

    CONNECTING --start--> WAITING --invite, 1 s--> FLOWING <--pause/resume--> PAUSED
                    |        |                      ^  |
                    |        +--final response-->   |  +--end of the content--> COMPLETE
                    +--no Expect: 100-continue------+     (dropped, if any state fails)

- WAITING: the client expects 100 Continue (RFC 9110, 10.1.1). It gets it when the upstream sends
  it, after one second, or never if a final response comes first.
- CONNECTING again (:meth:`Upload.restart`): the request is sent once more on another connection.
- FLOWING: a client that sends nothing for the read timeout is disconnected.

A content that came complete with its head has no upload: it is part of the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from zenzefi.errors import GateError
from zenzefi.http.errors import RequestTimeout
from zenzefi.proxy.method_override import ContentInspection
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.request_content import CONTINUE_SECONDS, RequestContent


class UploadingClient(Protocol):
    """The client's connection, as an upload needs it."""

    def send_continue(self) -> None:
        """Send 100 Continue to the client, unless its content is here already."""

    def content_wanted(self) -> None:
        """The upload takes content again."""


class Upload:
    """One content on its way, a ``ContentSource`` of the upstream's connection."""

    __slots__ = (
        "_client",
        "_connection",
        "_content",
        "_idle_timeout",
        "_inspection",
        "_is_paused",
        "_last",
        "_loop",
        "_timer",
        "is_done",
        "is_parsed",
        "is_waiting",
        "length",
        "received",
        "transform",
    )

    def __init__(
        self,
        client: UploadingClient,
        length: int | None,
        idle_timeout: float,
        *,
        inspection: ContentInspection | None,
        expects_continue: bool,
        is_parsed: bool,
    ) -> None:
        """``length``: bytes to come, ``None`` if the content is chunked; ``idle_timeout``: seconds.

        ``is_parsed``: the parser removes the framing of the content.
        """
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._idle_timeout = idle_timeout
        self._inspection = inspection
        self._connection: UpstreamConnection | None = None
        self._content: RequestContent | None = None
        self._is_paused = False
        self._last = 0.0  # when the client was last waited for
        self._timer: asyncio.TimerHandle | None = None
        self.is_waiting = expects_continue
        """Whether the client was not asked for the content yet."""
        self.is_done = False
        """Whether all of the content was taken."""
        self.is_parsed = is_parsed
        self.length = length
        self.received = 0
        """Bytes that were taken."""
        self.transform: Callable[[bytes, bool], bytes] | None = None
        """Changes a piece of the content; its second argument tells whether it is the last one."""

    @property
    def is_blocked(self) -> bool:
        """Whether no content may be taken at present."""
        return self._content is None or self.is_waiting or self._is_paused or self.is_done

    @property
    def is_cut(self) -> bool:
        """Whether the upstream's connection was closed before the end of the content."""
        return self._content is not None and self._content.is_closed

    def start(self, connection: UpstreamConnection) -> None:
        """The head of the request was written to ``connection``."""
        self._connection = connection
        self._content = connection.content
        if self.is_done:  # an empty content, sent again
            if self._content is not None:
                self._content.end()
        elif self.is_waiting:
            self._timer = self._loop.call_later(CONTINUE_SECONDS, self.invite)
        else:
            self._watch()

    def restart(self) -> None:
        """The connection was lost before any content was taken: another one will be started."""
        self.stop()
        self._connection = self._content = None
        self._is_paused = False

    def take(self, data: bytes, *, is_last: bool) -> None:
        """Write the next bytes of the content.

        Raises ``ScopeRefused`` before a refused method is written, and :class:`GateError`.
        """
        if self._inspection is not None:
            self._inspection.check(data, is_last=is_last)
        self.is_done = is_last
        self.received += len(data)
        self._last = self._loop.time()
        if self.transform is not None:
            data = self.transform(data, is_last)
        content = self._content
        if content is not None:
            content.write(data)
            if is_last:
                content.end()
        if is_last:
            self.stop()

    def fail(self, error: GateError) -> None:
        """End the exchange, because the content is refused, malformed or late."""
        self.stop()
        connection = self._connection
        if connection is not None and connection.content is self._content:
            connection.fail(error)

    def stop(self) -> None:
        """No more content is taken."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self) -> None:
        self._last = self._loop.time()
        self._timer = self._loop.call_later(self._idle_timeout, self._check_progress)

    def _check_progress(self) -> None:
        now = self._loop.time()
        if self._is_paused:  # the upstream is waited for, not the client
            self._last = now
        late = self._last + self._idle_timeout
        if now >= late:
            self._timer = None
            self.fail(RequestTimeout())
        else:
            self._timer = self._loop.call_at(late, self._check_progress)

    # --- called by the upstream's connection

    def pause(self) -> None:
        """The upstream reads more slowly: write no more for now."""
        self._is_paused = True

    def resume(self) -> None:
        """Continue to write."""
        self._is_paused = False
        self._last = self._loop.time()
        self._client.content_wanted()

    def invite(self) -> None:
        """The upstream has sent 100 Continue, or the client has waited long enough for it."""
        if self.is_waiting:
            self.is_waiting = False
            self.stop()
            self._watch()
            self._client.send_continue()
            self._client.content_wanted()
