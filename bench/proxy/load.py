"""Load generators: ``wrk`` for small requests if it is installed, asyncio for all others."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import http.client
import json
import secrets
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import httptools

from bench.proxy.cases import Case
from bench.proxy.upstream import frame

CONNECTIONS = 32
SOCKETS = 16
_NEW_HEADER = "X-Page-View"
_REPORT = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\n{"requests":%d,"us":%d,"p50":%d,"p99":%d,"errors":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Target:
    """Address of one peer, with the path prefix and headers that it requires."""

    port: int
    prefix: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    host: str = "127.0.0.1"

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        return f"{self.host}:{self.port}"

    def head(self, method: str, path: str, *more: tuple[str, str]) -> bytes:
        """A complete request head."""
        lines = [f"{method} {self.prefix}{path} HTTP/1.1", f"Host: {self.authority}"]
        lines += [f"{name}: {value}" for name, value in (*self.headers, *more)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


@dataclass(frozen=True)
class Load:
    """Result of one run: ``p50`` and ``p99`` in milliseconds, ``work`` in requests or MB."""

    work: float
    seconds: float
    p50: float = 0.0
    p99: float = 0.0


class LoadFailed(Exception):
    """The peer sent a wrong response or none."""


def generator(seconds: float) -> str:
    """Name of the generator of the keep-alive load, for runs of this length.

    ``wrk`` measures whole seconds; shorter runs are made by the generator of this module.
    """
    if seconds < 1:
        return "built-in asyncio generator"
    return "wrk" if shutil.which("wrk") else "built-in asyncio generator (wrk is not installed)"


def requests(target: Target, case: Case, seconds: float) -> Load:
    """Keep-alive requests over ``CONNECTIONS`` connections for ``seconds``."""
    if generator(seconds) != "wrk":
        return asyncio.run(_own_requests(target, case, seconds))
    with tempfile.TemporaryDirectory(prefix="zenzefi-bench-wrk-") as folder:
        script = Path(folder, "load.lua")
        script.write_text(_lua(case, folder))
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{round(seconds)}s", "--timeout=10s"]
        command += ["-s", str(script)]
        for name, value in (("Host", target.authority), *target.headers, *case.headers):
            command += ["-H", f"{name}: {value}"]
        url = f"http://127.0.0.1:{target.port}{target.prefix}{case.path}"
        done = subprocess.run([*command, url], capture_output=True, text=True, timeout=seconds + 60)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise LoadFailed(f"wrk: {done.stderr.strip() or done.stdout.strip()}")
    got = json.loads(lines[-1])
    if got["errors"] or not got["requests"]:
        raise LoadFailed(f"{got['errors']} errors in {got['requests']} requests")
    return Load(got["requests"], got["us"] / 1e6, got["p50"] / 1e3, got["p99"] / 1e3)


def _lua(case: Case, folder: str) -> str:
    """The script for wrk: method, body, headers that change, and the report."""
    lines = [f'wrk.method = "{case.method}"']
    if case.body:
        body = Path(folder, "body")
        body.write_bytes(case.body)
        lines += [f'local f = io.open("{body}", "rb")', 'wrk.body = f:read("*a")', "f:close()"]
    if case.is_new:
        lines += [
            f"local n = {secrets.randbits(40)}",
            "request = function()",
            f'  n = n + 1; wrk.headers["{_NEW_HEADER}"] = "v" .. n; return wrk.format()',
            "end",
        ]
    return "\n".join(lines) + _REPORT


class _Client(asyncio.Protocol):
    """One keep-alive connection that sends its next request after each response."""

    def __init__(self, target: Target, case: Case, until: float, times: list[float]) -> None:
        self._target, self._case = target, case
        self._until, self._times = until, times
        self._request = self._next()
        self._parser = httptools.HttpResponseParser(self)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def _next(self) -> bytes:
        case, more = self._case, list(self._case.headers)
        if case.body:
            more.append(("Content-Length", str(len(case.body))))
        if case.is_new:
            more.append((_NEW_HEADER, f"v{secrets.randbits(60)}"))
        return self._target.head(case.method, case.path, *more) + case.body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        if self._case.is_new:
            self._request = self._next()
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(str(error))

    def on_message_complete(self) -> None:
        """One response is complete: send the next request, or end."""
        status = self._parser.get_status_code()
        now = time.perf_counter()
        self._times.append(now - self._sent_at)
        if status != 200:
            self._fail(f"status {status}")
        elif now < self._until:
            self._send()
        else:
            self._transport.close()
            if not self.done.done():
                self.done.set_result(None)

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(LoadFailed(why))
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(LoadFailed("the peer closed a connection"))


async def _own_requests(target: Target, case: Case, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    times: list[float] = []
    begun = time.perf_counter()

    def client() -> _Client:
        return _Client(target, case, begun + seconds, times)

    clients = [
        (await loop.create_connection(client, "127.0.0.1", target.port))[1]
        for _ in range(CONNECTIONS)
    ]
    await asyncio.wait_for(asyncio.gather(*(client.done for client in clients)), seconds + 30)
    return _load(times, time.perf_counter() - begun)


def fetch(target: Target, case: Case) -> tuple[int, bytes]:
    """One request of a case: the status, and the body without its content coding."""
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=60)
    with contextlib.closing(connection):
        connection.putrequest(
            case.method, target.prefix + case.path, skip_host=True, skip_accept_encoding=True
        )
        for name, value in (("Host", target.authority), *target.headers, *case.headers):
            connection.putheader(name, value)
        if case.body:
            connection.putheader("Content-Length", str(len(case.body)))
        connection.endheaders(case.body or None)
        response = connection.getresponse()
        body = response.read()
        if response.getheader("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        return response.status, body


def _load(times: list[float], seconds: float) -> Load:
    cuts = statistics.quantiles(times, n=100)
    return Load(len(times), seconds, cuts[49] * 1e3, cuts[98] * 1e3)


def prime(target: Target, path: str) -> None:
    """One small request, as a browser sends before a download."""
    with _connect(target) as peer:
        peer.sendall(target.head("GET", path, ("Connection", "close")))
        _read_head(peer)


def download(target: Target, path: str, size: int) -> Load:
    """One large response body, read without delay; ``work`` is in megabytes (10^6 bytes)."""
    buffer = bytearray(1 << 20)
    with _connect(target) as peer:
        begun = time.perf_counter()
        peer.sendall(target.head("GET", path, ("Connection", "close")))
        _, body = _read_head(peer)
        got = len(body)
        while read := peer.recv_into(buffer):
            got += read
        seconds = time.perf_counter() - begun
    if got < size:
        raise LoadFailed(f"{got} of {size} bytes received")
    return Load(size / 1e6, seconds)


def upload(target: Target, path: str, size: int) -> Load:
    """One large request body, sent without delay; ``work`` is in megabytes (10^6 bytes)."""
    block = bytes(1 << 18)
    with _connect(target) as peer:
        begun = time.perf_counter()
        peer.sendall(target.head("POST", path, ("Content-Length", str(size))))
        for _ in range(size // len(block)):
            peer.sendall(block)
        head, _ = _read_head(peer)
        seconds = time.perf_counter() - begun
    if b" 204 " not in head:
        raise LoadFailed(head.decode("latin-1"))
    return Load(size / 1e6, seconds)


def _connect(target: Target) -> socket.socket:
    return socket.create_connection(("127.0.0.1", target.port), timeout=60)


def _read_head(peer: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = peer.recv(65536)
        if not more:
            raise LoadFailed(f"no response: {data!r}")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    if b" 20" not in head[:14]:
        raise LoadFailed(head.decode("latin-1"))
    return head, rest


class _Socket(asyncio.Protocol):
    """One WebSocket that sends its message again after each complete echo."""

    def __init__(self, handshake: bytes, size: int, until: float, times: list[float]) -> None:
        self._handshake, self._until, self._times = handshake, until, times
        message = secrets.token_bytes(size)
        self._message = frame(message, masked=True)
        self._echo_size = len(frame(message, masked=False))
        self._got = 0
        self._head: bytes | None = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._handshake)

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
            if b"\r\n\r\n" not in self._head:
                return
            if b" 101 " not in self._head[:14]:
                self.done.set_exception(LoadFailed(self._head.decode("latin-1")))
                self._transport.abort()
                return
            self._head = None
            self._send()
            return
        self._got += len(data)
        if self._got < self._echo_size:
            return
        now = time.perf_counter()
        self._times.append(now - self._sent)
        if now < self._until:
            self._send()
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()

    def _send(self) -> None:
        self._got = 0
        self._sent = time.perf_counter()
        self._transport.write(self._message)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(LoadFailed("the peer closed a WebSocket"))


def websocket(target: Target, path: str, size: int, seconds: float) -> Load:
    """Echoes of one size over ``SOCKETS`` WebSockets for ``seconds``."""
    return asyncio.run(_websocket(target, path, size, seconds))


async def _websocket(target: Target, path: str, size: int, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    times: list[float] = []
    begun = time.perf_counter()
    handshake = target.head(
        "GET",
        path,
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", base64.b64encode(secrets.token_bytes(16)).decode()),
    )
    sockets = [
        (
            await loop.create_connection(
                lambda: _Socket(handshake, size, begun + seconds, times),
                "127.0.0.1",
                target.port,
            )
        )[1]
        for _ in range(SOCKETS)
    ]
    await asyncio.wait_for(asyncio.gather(*(one.done for one in sockets)), seconds + 30)
    return _load(times, time.perf_counter() - begun)
