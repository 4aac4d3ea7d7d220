"""Raw keep-alive connections, and one gate of each kind in front of the same upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.proxy.conftest import PREFIX, TOKEN
from tests.proxy.faulty import write
from zenzefi.proxy.fast_path import LANE, FastLane


@dataclass
class Answer:
    """What came back: ``is_whole`` is false where it broke off."""

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


class Browser:
    """One raw connection to a gate."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, target: str, *headers: str, method: str = "GET", token: str = TOKEN) -> None:
        lines = [f"{method} {target} HTTP/1.1", "Host: gate.test:8000", f"X-Access-Token: {token}"]
        write(self.writer, "\r\n".join([*lines, *headers, "", ""]).encode("utf-8"))

    async def read(self, method: str = "GET") -> Answer:
        async with asyncio.timeout(40):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as cut:
                return Answer(cut.partial, [], b"", False)
            except ConnectionError:
                return Answer(b"", [], b"", False)
            start, *headers = head[:-4].split(b"\r\n")
            fields = {line.split(b":")[0].lower(): line.split(b":", 1)[1] for line in headers}
            status = int(start.split()[1])
            if status < 200:
                return Answer(start, headers, b"", True)
            if method == "HEAD" or status in (204, 304):
                return Answer(start, headers, b"", True)
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
                return Answer(start, headers, body, False)
            return Answer(start, headers, body, True)

    async def ask(self, target: str, *headers: str, method: str = "GET", **options) -> Answer:
        self.send(target, *headers, method=method, **options)
        return await self.read(method)

    def close(self) -> None:
        self.writer.transport.abort()


@pytest.fixture
def fast_lane() -> bool:
    """Gates of these tests have the lane unless a test says otherwise."""
    return True


@pytest.fixture
async def connect() -> AsyncIterator:
    """Opens raw connections to a gate."""
    browsers: list[Browser] = []

    async def connect(gate) -> Browser:
        browser = Browser(*await asyncio.open_connection("127.0.0.1", gate.port))
        browsers.append(browser)
        return browser

    yield connect
    for browser in browsers:
        browser.close()


def lane_of(gate) -> FastLane:
    return gate.app[LANE]


__all__ = ["PREFIX", "TOKEN", "Answer", "Browser", "lane_of"]
