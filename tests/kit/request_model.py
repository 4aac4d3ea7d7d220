"""A model of requests: their bytes on the wire, and the expected result."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tests.kit.proxy_gates import PREFIX, TOKEN

KNOWN = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "REPORT", "QUERY"]
UNKNOWN = ["BREW", "get", "GETS", "P", "like", "PLAY", "SOURCE", "DESCRIBE", "X!#$%&'*+.^_`|~9"]
# Header values and contents that look like something else when they are read from the wrong place.
DISGUISES = [
    "Mozilla (KHTML, like Gecko) Chrome",
    "GET /evil HTTP/1.1",
    "like Gecko",
    "BREW /evil HTTP/1.1",
    "",
    "\t tab \t",
    "a" * 3000,
]


@dataclass(frozen=True)
class SentRequest:
    """One request of the model."""

    method: str
    content: bytes | None = None
    chunks: tuple[int, ...] = ()  # sizes, for chunked content; empty: by length
    values: tuple[str, ...] = ()
    is_led_by_empty_lines: bool = False
    expects: bool = False
    slow: float = 0.0
    is_rewritten: bool = False

    def wire(self, number: int, *, is_last: bool, folder: str = "") -> bytes:
        lines = [f"{self.method} {PREFIX}{folder}/{number} HTTP/1.1", "Host: gate.test"]
        lines += [f"X-{i}:{value}" for i, value in enumerate(self.values)]
        lines += [f"X-Access-Token: {TOKEN}"]
        if self.slow:
            lines.append(f"X-Slow: {self.slow}")
        if self.is_rewritten:
            lines.append("X-Rewritten: yes")
        if self.expects and self.content:
            lines.append("Expect: 100-continue")
        if is_last:
            lines.append("Connection: close")
        content = self.content or b""
        if self.content is not None and self.chunks:
            lines.append("Transfer-Encoding: chunked")
            content = b""
            rest, sizes = self.content, list(self.chunks)
            while rest:
                size = sizes.pop(0) if sizes else len(rest)
                piece, rest = rest[:size], rest[size:]
                content += b"%x;ext=1\r\n%b\r\n" % (len(piece), piece)
            content += b"000\r\nX-Trailer: BREW /x HTTP/1.1\r\n\r\n"
        elif self.content is not None:
            lines.append(f"Content-Length: {len(self.content)}")
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        return b"\r\n\r\n" * self.is_led_by_empty_lines + head + content


@dataclass(frozen=True)
class ReceivedRequest:
    """A request as an upstream has read it."""

    method: str
    target: str
    fields: dict[str, str]
    content: bytes


async def read_request(reader: asyncio.StreamReader, head: bytes) -> ReceivedRequest:
    """The request that begins with ``head``; reads its content."""
    start, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, target, _ = start.split(" ")
    fields = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    content = b""
    if "transfer-encoding" in fields:
        while size := int((await reader.readuntil(b"\n")).split(b";")[0], 16):
            content += await reader.readexactly(size)
            await reader.readexactly(2)
        while await reader.readuntil(b"\n") != b"\r\n":
            pass
    elif "content-length" in fields:
        content = await reader.readexactly(int(fields["content-length"]))
    return ReceivedRequest(method, target, fields, content)


def echo(method: str, target: str, content: bytes) -> bytes:
    """The body of the response to it; none to HEAD."""
    return b"" if method == "HEAD" else f"{method} {target} {len(content)}".encode()


def response_to(seen: ReceivedRequest) -> bytes:
    """A response that says what was asked for."""
    kind = b"text/html" if "x-rewritten" in seen.fields else b"a/b"
    body = f"{seen.method} {seen.target} {len(seen.content)}".encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    return head % (kind, len(body)) + echo(seen.method, seen.target, seen.content)


async def responses(
    reader: asyncio.StreamReader, requests: list[SentRequest]
) -> list[tuple[int, bytes]]:
    """The final responses, parsed with the methods of their requests."""
    found = []
    for request in requests:
        status = 100
        while status < 200:
            start, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
            status = int(start.split(b" ")[1])
        fields = {name.lower(): value for name, _, value in (x.partition(b":") for x in lines)}
        body = b""
        if request.method != "HEAD":
            if b"transfer-encoding" in fields:
                while size := int(await reader.readuntil(b"\n"), 16):
                    body += await reader.readexactly(size)
                    await reader.readexactly(2)
                await reader.readexactly(2)
            else:
                body = await reader.readexactly(int(fields[b"content-length"]))
        found.append((status, body))
    return found
