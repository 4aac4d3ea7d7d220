"""The connections to the upstream: a pool of them. Only the configured origin is ever connected."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from zenzefi.errors import UpstreamTimeout, UpstreamUnreachable
from zenzefi.proxy.exchange import Connection, Exchange, RequestBody
from zenzefi.proxy.headers import Pairs
from zenzefi.rewriting.mount import Origin

log = logging.getLogger(__name__)

_IDLE_SECONDS = 25.0  # a pooled connection; below the usual keep-alive limits of servers
# An upstream that vanished without a word (its host lost power, say) is noticed within two minutes,
# even where nothing is due from it: behind an idle WebSocket. By name, as not every system has all.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


@dataclass(frozen=True, slots=True)
class Tls:
    """How the upstream's certificate is checked."""

    context: ssl.SSLContext
    pin: bytes | None = None

    @classmethod
    def build(cls, *, verify: bool, ca_file: Path | None, pinned_sha256: str | None) -> Tls:
        """Verified by default; a pinned certificate replaces the chain of trust."""
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        if pinned_sha256 or not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return cls(context, bytes.fromhex(pinned_sha256) if pinned_sha256 else None)

    def check(self, transport: asyncio.BaseTransport) -> None:
        """Raise :class:`UpstreamUnreachable` if the certificate is not the pinned one."""
        if self.pin is None:
            return
        peer = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        if not hmac.compare_digest(hashlib.sha256(peer or b"").digest(), self.pin):
            raise UpstreamUnreachable


class Upstream:
    """The connections to one upstream."""

    def __init__(
        self,
        origin: Origin,
        *,
        tls: Tls | None,
        connect_timeout: float,
        read_timeout: float,
        max_connections: int,
    ) -> None:
        self.origin = origin
        self.read_timeout = read_timeout
        self._tls = tls if origin.scheme == "https" else None
        self._connect_timeout = connect_timeout
        self._idle: deque[Connection] = deque()
        self._slots = asyncio.Semaphore(max_connections)
        self._open: set[Connection] = set()

    async def connect(self) -> Connection:
        """A fresh connection. Raises :class:`UpstreamUnreachable`, :class:`UpstreamTimeout`."""
        loop = asyncio.get_running_loop()
        tls = self._tls
        try:
            async with asyncio.timeout(self._connect_timeout):
                transport, connection = await loop.create_connection(
                    lambda: Connection(loop),
                    self.origin.host.strip("[]"),
                    self.origin.port,
                    ssl=tls.context if tls else None,
                )
        except TimeoutError:
            raise UpstreamTimeout from None
        except OSError as error:  # refused, unresolvable, certificate not accepted
            log.warning("upstream can't be reached: %s", error)
            raise UpstreamUnreachable from None
        _keep_alive(transport)
        if tls is not None:
            try:
                tls.check(transport)
            except UpstreamUnreachable:
                log.warning("the upstream's certificate is not the pinned one")
                connection.abort()
                raise
        self._open.add(connection)
        return connection

    async def acquire(self, *, fresh: bool = False) -> Connection:
        """A connection for one exchange, pooled or new; :meth:`release` ends its use."""
        try:
            async with asyncio.timeout(self._connect_timeout):
                await self._slots.acquire()
        except TimeoutError:
            raise UpstreamTimeout from None
        while self._idle and not fresh:
            connection = self._idle.pop()
            connection.is_idle = False
            if connection.expiry is not None:
                connection.expiry.cancel()
            if connection.is_usable:
                connection.is_reused = True
                return connection
            self._discard(connection)
        try:
            return await self.connect()
        except BaseException:
            self._slots.release()
            raise

    def release(self, connection: Connection, *, reusable: bool) -> None:
        """Take back a connection that :meth:`acquire` gave."""
        self._slots.release()
        if not reusable or not connection.is_usable:
            self._discard(connection)
            return
        connection.is_idle = True
        connection.expiry = asyncio.get_running_loop().call_later(
            _IDLE_SECONDS, self._expire, connection
        )
        self._idle.append(connection)

    def discard(self, connection: Connection) -> None:
        """Close a connection that :meth:`connect` gave."""
        self._discard(connection)

    async def close(self) -> None:
        """Close everything."""
        self._idle.clear()
        for connection in list(self._open):
            self._discard(connection)
        await asyncio.sleep(0)

    def _expire(self, connection: Connection) -> None:
        if connection.is_idle:
            self._idle.remove(connection)
            self._discard(connection)

    def _discard(self, connection: Connection) -> None:
        connection.is_idle = False
        if connection.expiry is not None:
            connection.expiry.cancel()
        self._open.discard(connection)
        connection.abort()

    async def send(
        self,
        method: str,
        head: bytes,
        body: RequestBody | None,
        on_interim: Callable[[int, Pairs], None],
    ) -> Exchange:
        """Send one request and wait for the head of the answer.

        A GET or HEAD without content that died on a pooled connection before any byte of an
        answer came is sent once more on a fresh one (RFC 9112, 9.3.1). ``on_interim`` gets 1xx
        answers. Raises :class:`UpstreamUnreachable`, :class:`UpstreamProtocolError`,
        :class:`UpstreamTimeout`, or what ``body.read`` raised.
        """
        connection = await self.acquire()
        exchange = Exchange(self, connection)
        try:
            await exchange.start(method, head, body, on_interim)
        except UpstreamUnreachable:
            retry = connection.is_reused and not connection.got_bytes
            await exchange.close()
            if not retry or body is not None or method not in ("GET", "HEAD"):
                raise
        except BaseException:
            await exchange.close()
            raise
        else:
            return exchange
        exchange = Exchange(self, await self.acquire(fresh=True))
        try:
            await exchange.start(method, head, body, on_interim)
        except BaseException:
            await exchange.close()
            raise
        return exchange


def _keep_alive(transport: asyncio.BaseTransport) -> None:
    """Have the system probe a silent connection (RFC 9293, 3.8.4)."""
    sock: socket.socket = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # it is gone already, as reading will tell
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
