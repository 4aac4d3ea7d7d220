"""Ten thousand idle WebSockets on one node: memory and CPU of each, and the time to close all."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bench.proxy import kernel
from bench.proxy.gate import Gate
from bench.proxy.programs import ROOT, wait_for
from bench.scale.watched_gate import longest_step
from tests.kit.ports import free_port

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_AT_ONCE = 50
_SPARE = 200  # descriptors of a program in addition to its sockets
_KEY = base64.b64encode(b"0123456789abcdef")


@dataclass(frozen=True)
class Measured:
    """Results for ``sockets`` WebSockets. Times are in seconds, sizes in bytes."""

    sockets: int
    opened: float  # until all were open
    opening_step: float  # CPU time of the longest step of the event loop until then
    bytes_each: float
    bytes_before: int
    idle_cpu: float  # share of one core, measured over several pings
    ended: float  # from the revocation of their token until all were closed
    ended_cpu: float  # CPU time of the gate for it
    longest_step: float  # CPU time of the longest step of its event loop meanwhile
    codes: set[int]


class _Upstream(asyncio.Protocol):
    """Accepts every handshake and then sends nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._head = b""
        self._is_open = False

    def data_received(self, data: bytes) -> None:
        if self._is_open:
            return
        self._head += data
        if b"\r\n\r\n" not in self._head:
            return
        head, self._head = self._head, b""
        for line in head.split(b"\r\n"):
            name, _, text = line.partition(b":")
            if name.lower() == b"sec-websocket-key":
                accept = base64.b64encode(hashlib.sha1(text.strip() + _GUID).digest())
                self._transport.write(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                    b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
                )
                self._is_open = True
                return
        self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


class _Client(asyncio.Protocol):
    """One open WebSocket: replies to pings and records the close code."""

    def __init__(self, open_: asyncio.Future[None], closed: list[int]) -> None:
        self._open = open_
        self._closed = closed
        self._data = b""
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._is_open:
            head, end, rest = self._data.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._open.set_exception(OSError(head.decode("latin-1")[:200]))
                return
            self._is_open, self._data = True, rest
            self._open.set_result(None)
        while len(self._data) >= 2:  # frames from a server: unmasked, short ones only
            length = self._data[1] & 0x7F
            if len(self._data) < 2 + length:
                return
            code, body = self._data[0] & 0x0F, self._data[2 : 2 + length]
            self._data = self._data[2 + length :]
            if code == 9:
                self._transport.write(bytes((0x8A, 0x80 | length)) + b"\0\0\0\0" + body)
            elif code == 8:
                self._closed.append(int.from_bytes(body[:2]))
                self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._open.done():
            self._open.set_exception(exc or ConnectionResetError())


def _raise_limit(wanted: int) -> int:
    """Raise the limit of descriptors as far as possible; the new limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, wanted), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, wanted), limit))
            break
        except (ValueError, OSError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _call(
    port: int, method: str, path: str, bearer: str | None = None, body: object = None
) -> dict[str, Any]:
    """One call of the gate's API."""
    headers = {"Content-Type": "application/json"}
    if bearer is not None:
        headers["Authorization"] = f"Bearer {bearer}"
    data = None if body is None else json.dumps(body).encode()
    url = f"http://127.0.0.1:{port}/api/v1{path}"
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as response:
        return dict(json.load(response))


class _Node(Gate):
    """The gate without the limits that the measurement would reach, its event loop watched."""

    report: Path  # the file for the longest step of the event loop

    def command(self, port: int) -> list[str]:
        """``zenzefi serve`` as the watched gate."""
        self.report = Path(tempfile.gettempdir(), f"zenzefi-bench-longest-step-{port}")
        python, _, _, *arguments = super().command(port)
        return [python, "-m", "bench.scale.watched_gate", str(self.report), *arguments]

    def environment(self) -> dict[str, str]:
        return super().environment() | {
            "RATE_LIMIT_API": "off",
            "UPSTREAM_MAX_CONNECTIONS": "65535",
            "UPSTREAM_CONNECTIONS_PER_TOKEN": "65535",
        }


async def _measure(
    node: _Node, token: dict[str, str], bearer: str, wanted: int, idle: float
) -> Measured:
    assert node.process is not None
    pid, port = node.process.pid, node.target.port
    loop = asyncio.get_running_loop()
    closed: list[int] = []
    gate = asyncio.Semaphore(_AT_ONCE)

    async def open_one(_number: int) -> None:
        async with gate:
            opened: asyncio.Future[None] = loop.create_future()
            transport, _ = await loop.create_connection(
                lambda: _Client(opened, closed), "127.0.0.1", port
            )
            transport.write(
                b"GET /api/v1/proxy/socket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
                + _KEY
                + b"\r\nX-Access-Token: "
                + token["token"].encode()
                + b"\r\n\r\n"
            )
            await opened

    await asyncio.gather(*map(open_one, range(20)))  # loads lazy modules
    await asyncio.sleep(1)
    before = kernel.pss(pid)
    await asyncio.to_thread(longest_step, pid, node.report)
    started = time.perf_counter()
    await asyncio.gather(*map(open_one, range(20, wanted)))
    opened = time.perf_counter() - started
    opening = await asyncio.to_thread(longest_step, pid, node.report)
    await asyncio.sleep(2)
    each = (kernel.pss(pid) - before) / (wanted - 20)
    cpu = kernel.cpu_seconds(pid)
    await asyncio.sleep(idle)
    cpu = (kernel.cpu_seconds(pid) - cpu) / idle
    if closed:
        raise OSError(f"{len(closed)} sockets were closed while idle")
    await asyncio.to_thread(longest_step, pid, node.report)
    ended_cpu = kernel.cpu_seconds(pid)
    started = time.perf_counter()
    await asyncio.to_thread(_call, port, "DELETE", f"/tokens/{token['id']}", bearer)
    async with asyncio.timeout(120):
        while len(closed) < wanted:  # noqa: ASYNC110 - the clients close them
            await asyncio.sleep(0.005)
    ended = time.perf_counter() - started
    step = await asyncio.to_thread(longest_step, pid, node.report)
    ended_cpu = kernel.cpu_seconds(pid) - ended_cpu
    return Measured(wanted, opened, opening, each, before, cpu, ended, ended_cpu, step, set(closed))


def measure(wanted: int, idle: float) -> Measured:
    """Open, watch and close the WebSockets; fewer if the system allows fewer descriptors."""
    limit = _raise_limit(2 * wanted + _SPARE)
    wanted = min(wanted, (limit - _SPARE) // 2)
    behind = free_port()
    upstream = subprocess.Popen(
        [sys.executable, "-m", "bench.scale.sockets", str(behind)], cwd=ROOT
    )
    node = _Node(behind, ",".join(map(str, sorted(os.sched_getaffinity(0)))))
    try:
        wait_for(behind, upstream)
        node.start()
        port = node.target.port
        account = {"email": "bench@example.org", "password": "a long bench password"}
        bearer = _call(port, "POST", "/auth/login", body=account)["access_token"]
        token = _call(port, "POST", "/tokens/purchase", bearer, {"duration_hours": 24})
        return asyncio.run(_measure(node, token, bearer, wanted, idle))
    finally:
        node.stop()
        node.report.unlink(missing_ok=True)
        upstream.kill()
        upstream.wait()


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(
        _Upstream, "127.0.0.1", port, backlog=1024
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
