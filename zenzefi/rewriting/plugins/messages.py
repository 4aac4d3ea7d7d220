"""The objects that a plugin changes: request, head of a response, WebSocket."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Protocol

from multidict import CIMultiDict

from zenzefi.http_syntax import path_readings
from zenzefi.rewriting.plugins.exchange import Exchange, Reads
from zenzefi.rewriting.plugins.heads import ExchangeHead

Direction = Literal["to_upstream", "to_browser"]

# RFC 3986, 3.3 and 3.4: visible ASCII; a question mark or number sign would end the path.
_PATH = re.compile(r"/(?!/)[^\x00-\x20\x7f-\U0010ffff\\?#\"<>^`{|}]*")
_QUERY = re.compile(r"[^\x00-\x20\x7f-\U0010ffff\\#]*")


class OutgoingRequest:
    """The request on its way to the upstream, for ``request()``: change what you need.

    ``headers`` are those that the upstream will get; the framing of the message and the gate's
    statements about the client are part of them.
    """

    __slots__ = ("_path", "_query", "headers", "method")

    def __init__(
        self, method: str, path: str, query: str | None, headers: CIMultiDict[str]
    ) -> None:
        self.method = method
        self.headers = headers
        self._path = path
        self._query = query

    @property
    def path(self) -> str:
        """The raw path at the upstream. Set it to send the request to another one.

        The browser does not see the change, and the scope is not checked again. Setting raises
        ``ValueError`` for a path that servers could read in several ways.
        """
        return self._path

    @path.setter
    def path(self, value: str) -> None:
        if not _PATH.fullmatch(value) or any(
            part.partition(";")[0] in (".", "..")
            for reading in path_readings(value)
            for part in reading.replace("\\", "/").split("/")
        ):
            raise ValueError(
                f"{value!r} is not a path: it begins with one slash and has no dot segments, "
                "spaces or characters beyond ASCII (percent-encode them)"
            )
        self._path = value

    @property
    def query(self) -> str | None:
        """The raw query, without the question mark; ``None`` if there is none."""
        return self._query

    @query.setter
    def query(self, value: str | None) -> None:
        if value is not None and not _QUERY.fullmatch(value):
            raise ValueError(f"{value!r} is not a query: percent-encode it")
        self._query = value


class OutgoingResponse:
    """The head of the response on its way to the browser, for ``response()``.

    ``headers`` are mapped already; headers that are added are mapped afterwards. ``status`` may be
    set to another one from 200 to 599 for which a body means the same.
    """

    __slots__ = ("headers", "status")

    def __init__(self, status: int, headers: CIMultiDict[str]) -> None:
        self.status = status
        self.headers = headers


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamError:
    """Why there is no response of the upstream, for ``upstream_error()``."""

    code: str
    """The stable code of the error, such as ``upstream_unreachable``."""
    status: int
    """The status that the gate responds with: 502, 503 or 504."""


class SocketLink(Protocol):
    """An open WebSocket, as the proxy has it."""

    def inject(self, direction: Direction, data: str | bytes) -> bool:
        """Send a message of the gate's own; false if that side takes no more at present."""

    def end(self, code: int, reason: str) -> None:
        """Close both sides with a close frame."""


class Socket(Exchange):
    """One WebSocket, for all its hooks: an :class:`Exchange` that can send and close."""

    __slots__ = ("_link",)

    def __init__(self, head: ExchangeHead, reads: Reads, *, is_plain: bool = False) -> None:
        super().__init__(head, reads, is_plain=is_plain)
        self._link: SocketLink | None = None

    def _connect(self, link: SocketLink | None) -> None:
        self._link = link

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._link is not None

    def send(self, data: str | bytes, direction: Direction = "to_browser") -> bool:
        """Send a message of the plugin's own, text or binary; other plugins do not get it.

        Returns false if the socket is not open, or if that side reads too slowly: messages that
        wait are bounded. Raises ``TypeError`` for other data, ``UnicodeEncodeError`` for text that
        is not Unicode.
        """
        if not isinstance(data, str | bytes):
            raise TypeError(f"a message is str or bytes, not {type(data).__name__}")
        if isinstance(data, str):
            data.encode()
        return self._link is not None and self._link.inject(direction, data)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the WebSocket. ``code`` as in RFC 6455, 7.4: 1000, or 3000 to 4999.

        Raises ``ValueError`` for other codes, and for a reason of more than 123 bytes.
        """
        if code != 1000 and not 3000 <= code <= 4999:
            raise ValueError(f"{code} is not a close code that a program may send")
        if len(reason.encode()) > 123:
            raise ValueError("the reason is longer than 123 bytes")
        if self._link is not None:
            self._link.end(code, reason)
