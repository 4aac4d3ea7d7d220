"""Raw keep-alive connections to a gate, and the responses read from them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.kit.faulty_upstream import write
from tests.kit.proxy_gates import TOKEN, RunningGate
from zenzefi.proxy.forwarding import FORWARDING, Forwarding


@dataclass
class RawResponse:
    """A response: ``is_whole`` is false where it ended early."""

    start: bytes
    headers: list[bytes]
    body: bytes
    is_whole: bool

    @property
    def shape(self) -> tuple[bytes, list[bytes], bytes, bool]:
        """For comparing: the order of headers of different names means nothing (RFC 9110, 5.3)."""
        return (
            self.start,
            sorted(
                (line for line in self.headers if not line.startswith(b"Date:")),
                key=lambda line: line.split(b":")[0].lower(),
            ),
            self.body,
            self.is_whole,
        )


class RawConnection:
    """One raw connection to a gate."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, target: str, *headers: str, method: str = "GET", token: str = TOKEN) -> None:
        lines = [f"{method} {target} HTTP/1.1", "Host: gate.test:8000", f"X-Access-Token: {token}"]
        write(self.writer, "\r\n".join([*lines, *headers, "", ""]).encode("utf-8"))

    async def read(self, method: str = "GET") -> RawResponse:
        async with asyncio.timeout(40):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as cut:
                return RawResponse(cut.partial, [], b"", False)
            except ConnectionError:
                return RawResponse(b"", [], b"", False)
            start, *headers = head[:-4].split(b"\r\n")
            fields = {line.split(b":")[0].lower(): line.split(b":", 1)[1] for line in headers}
            status = int(start.split()[1])
            if status < 200:
                return RawResponse(start, headers, b"", True)
            if method == "HEAD" or status in (204, 304):
                return RawResponse(start, headers, b"", True)
            body = b""
            try:
                if b"transfer-encoding" in fields:
                    while size := int(await self.reader.readline() or b"-1", 16):
                        body += await self.reader.readexactly(size)
                        await self.reader.readexactly(2)
                    await self.reader.readexactly(2)
                else:
                    body = await self.reader.readexactly(int(fields[b"content-length"]))
            except (asyncio.IncompleteReadError, ConnectionError, ValueError) as cut:
                body += getattr(cut, "partial", b"")
                return RawResponse(start, headers, body, False)
            return RawResponse(start, headers, body, True)

    async def request(
        self, target: str, *headers: str, method: str = "GET", token: str = TOKEN
    ) -> RawResponse:
        self.send(target, *headers, method=method, token=token)
        return await self.read(method)

    def close(self) -> None:
        self.writer.transport.abort()


def forwarding_of(gate: RunningGate) -> Forwarding:
    found: Forwarding = gate.app[FORWARDING]
    return found


WEBSOCKET_UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


Connect = Callable[[RunningGate], Awaitable[RawConnection]]
"""Opens a raw connection to a gate; the fixture ``connect``."""
