"""Requests with and without a task: the same bytes to the upstream, the same responses."""

from __future__ import annotations

import gzip
import random

import pytest

from tests.kit.faulty_upstream import FaultyUpstream
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate
from tests.kit.raw_connections import Connect, forwarding_of

ZIPPED = gzip.compress(b'{"a": 1}', mtime=0)
ID = "X-Request-ID: differential-1"

REQUESTS = [
    ("GET", "/plain", []),
    ("HEAD", "/plain", []),
    ("GET", "/", ["Accept: */*", "Accept-Encoding: gzip, deflate, br, zstd"]),
    ("GET", "/a/b.c?x=1&y=%zz&&z", ["Accept-Encoding: gzip, sdch"]),
    ("GET", "/a%20b;v=1/%C3%A9", ["User-Agent: Mozilla/5.0 (X11)"]),
    ("GET", "//double//slash", ["X-Empty:", "X-Twice: 1", "X-Twice: 2"]),
    ("GET", "/.well-known/thing", ["Authorization: Basic dTpw"]),
    ("GET", "/x?", ["Cookie: a=1; zenzefi_access_token=other; zup-__Host-s=2; b=3"]),
    ("GET", "/x", ["Referer: http://gate.test:8000/api/v1/proxy/from?q=1"]),
    ("GET", "/x", ["Origin: http://gate.test:8000", "Sec-Fetch-Dest: image"]),
    ("GET", "/x", ["X-Forwarded-For: 6.6.6.6", "X-User-Id: forged", "x_token_id: forged"]),
    ("GET", "/x", ["X-Forwarded-Prefix: /app", "X-Forwarded-Host: front.test"]),
    ("GET", "/x", ["X-Device-ID: 0123456789abcdef0123", "Content-Length: 0"]),
    ("GET", "/x", ["Connection: keep-alive, X-Named", "X-Named: 1"]),
    ("GET", "/x", ['If-None-Match: "e"', "Cache-Control: max-age=0"]),
    ("GET", "/x", ['If-None-Match: W/"e~zs01234567"']),
    ("GET", "/x.bin", ["Range: bytes=0-3", "Sec-Fetch-Dest: video"]),
    ("GET", "/x", ["Range: bytes=0-3", 'If-Range: "e"', "TE: trailers", "Trailer: X-A"]),
    ("GET", "/x", ["Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]),
    ("PUT", "/x", ['If-Match: "e~zs01234567"', "Content-Length: 0"]),
    ("OPTIONS", "/x", ["Access-Control-Request-Method: PUT"]),
    ("DELETE", "/x", []),
    ("GET", f"{PREFIX}/doubled", []),
]

RESPONSES = [
    b"200 OK\r\nContent-Type: image/png\r\nContent-Length: 5\r\n\r\nimage",
    b'200 OK\r\nContent-Type: image/png\r\nETag: "e"\r\nServer: x\r\nContent-Length: 0\r\n\r\n',
    b"200 OK\r\nContent-Type: video/mp4\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\nX-Trailer: 1\r\n\r\n",
    b"200 OK\r\nContent-Type: font/woff2\r\nConnection: close\r\n\r\nuntil the end",
    b"200 OK\r\nContent-Length: 9\r\n\r\nunlabeled",
    b"200 OK\r\nContent-Type: text/html\r\nContent-Length: 25\r\n\r\n<a href=/x>link</a><p>xyz",
    b'200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"a": "/x/y"}',
    b'200 OK\r\nContent-Type: application/json\r\nETag: "e"\r\nDigest: x\r\n'
    b"Accept-Ranges: bytes\r\nVary: Accept\r\nContent-Length: 2\r\n\r\n{}",
    b'200 OK\r\nContent-Type: text/javascript\r\nETag: "e"\r\nVary: Origin\r\n'
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nlet\r\n4;ext=1\r\n a=1\r\n0\r\n\r\n",
    b"200 OK\r\nContent-Type: text/javascript\r\nVary: sec-fetch-dest\r\nContent-Length: 1\r\n"
    b"\r\n;",
    b"200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(ZIPPED), ZIPPED),
    b"200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
    b"Content-Length: 3\r\n\r\n\x1f\x8b\x08",
    b"200 OK\r\nContent-Type: application/json\r\nContent-Encoding: unknown\r\n"
    b"Content-Length: 2\r\n\r\n{}",
    b"200 OK\r\nContent-Type: application/json\r\nContent-Type: text/javascript\r\n"
    b"Content-Length: 2\r\n\r\n{}",
    b"200 OK\r\nContent-Type: application/json\r\nLink: </x>\r\nContent-Length: 2\r\n\r\n{}",
    b"200 OK\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n",
    b'200 OK\r\nContent-Type: application/json\r\nETag: "e"\r\nContent-Length: 9\r\n\r\n{}',
    b"200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{}",
    b"205 Reset Content\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n",
    b"404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b'304 Not Modified\r\nContent-Type: application/json\r\nETag: "e"\r\nVary: Origin\r\n\r\n',
    b"103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"204 No Content\r\nX-A: 1\r\n\r\n",
    b'304 Not Modified\r\nETag: "e"\r\n\r\n',
    b"302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n",
    b"404 Not Found\r\nContent-Type: image/svg\r\nContent-Length: 2\r\n\r\nno",
    b"200 Fine \xe9\r\nContent-Type: image/gif\r\nSet-Cookie: a=1; Path=/; Secure\r\n"
    b"Set-Cookie: b=2; Domain=elsewhere.test\r\nContent-Disposition: x; f=\xe9\r\n"
    b"Content-Length: 1\r\n\r\nx",
    b"200 OK\r\nContent-Type: image/gif\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n"
    b"Alt-Svc: h3\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 1\r\n\r\nx",
    b'200 OK\r\nContent-Type: image/gif\r\nClear-Site-Data: "cache", "cookies"\r\n'
    b"Access-Control-Allow-Origin: *\r\nContent-Length: 1\r\n\r\nx",
    b"206 Partial Content\r\nContent-Type: video/mp4\r\nContent-Range: bytes 0-3/9\r\n"
    b"Content-Length: 4\r\n\r\nvide",
    b"200 OK\r\nContent-Type: image/gif\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n"
    b"\x1f\x8b\x08",
    b"500 Internal Server Error\r\nContent-Type: image/png\r\nContent-Length: 1\r\n\r\nx",
    b"200 OK\r\nContent-Type: image/png\r\nContent-Length: 100\r\n\r\ncut",
    b"200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    b"200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab",
    b"200 OK\r\nContent-Type: image/png\r\nContent-Length: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nx",
    b"200 OK\r\nContent-Type: image/png\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    b"103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 1\r\n\r\nx",
    b"101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"200 OK\nContent-Type: image/png\nContent-Length: 1\n\nx",
    b"200 OK\r\nContent-Type: image/png\r\nX-Bad: a\x00b\r\nContent-Length: 1\r\n\r\nx",
    b"200 OK\r\nContent-Type: image/png\r\nContent-Length : 1\r\n\r\nx",
    b"200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    b"426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Content-Length: 0\r\n\r\n",
    b"200 OK\r\nContent-Type: image/png\r\nCache-Control: public, max-age=60\r\n"
    b"Cache-Control: immutable\r\nX-Accel-Expires: 60\r\nContent-Length: 1\r\n\r\nx",
    b"999 What\r\nContent-Type: image/png\r\nContent-Length: 1\r\n\r\nx",
    b"garbage\r\n\r\n",
]


class Both:
    """A gate that admits at once, one that admits by tasks, and their upstream."""

    def __init__(self, gates: list[RunningGate], faulty: FaultyUpstream, connect: Connect) -> None:
        self.gates = gates
        self.faulty = faulty
        self.connect = connect

    async def compare(self, method: str, target: str, headers: list[str], response: bytes) -> None:
        """Send it three times: parsed, recognised by its bytes, and on a reused connection."""
        seen = []
        for gate in self.gates:
            if method == "HEAD":
                response = response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            self.faulty.always(b"HTTP/1.1 " + response)
            self.faulty.heads.clear()
            responses = []
            browser = await self.connect(gate)
            for _ in range(3):
                browser.send(PREFIX + target, ID, *headers, method=method)
                got = await browser.read(method)
                while got.start.startswith(b"HTTP/1.1 1"):
                    responses.append(got.shape)
                    got = await browser.read(method)
                responses.append(got.shape)
                if not got.is_whole or b"Connection: close" in got.headers:
                    browser.close()
                    browser = await self.connect(gate)
            browser.close()
            # A head that the strict parser refused may be requested again.
            heads = dict.fromkeys(self.faulty.heads)
            seen.append((list(heads), responses))
        assert seen[0] == seen[1]


@pytest.fixture
async def both(start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect) -> Both:
    access = None
    gates = []
    for at_once in (True, False):
        gate = await start_gate(faulty.url, fast_lane=at_once, backend_url="http://gate.test:8000")
        access = access or gate.tokens.known[TOKEN]
        gate.tokens.known[TOKEN] = access
        gates.append(gate)
    return Both(gates, faulty, connect)


@pytest.mark.parametrize("response", RESPONSES, ids=lambda response: repr(response[:60])[2:60])
async def test_every_kind_of_response_is_the_same_with_and_without_a_task(
    both: Both, response: bytes
) -> None:
    await both.compare("GET", "/x", [], response)
    if not response.startswith(b"1"):
        await both.compare("HEAD", "/x", [], response)


@pytest.mark.parametrize(("method", "target", "headers"), REQUESTS)
async def test_every_kind_of_request_is_the_same_with_and_without_a_task(
    both: Both, method: str, target: str, headers: list[str]
) -> None:
    for response in RESPONSES[:2]:
        await both.compare(method, target, headers, response)


async def test_mixed_requests_are_the_same_with_and_without_a_task(both: Both) -> None:
    chance = random.Random(20261123)
    for _ in range(60):
        method, target, headers = chance.choice(REQUESTS)
        more = chance.choice(REQUESTS)[2]
        names = {line.split(":")[0].lower() for line in headers}
        mixed = headers + [line for line in more if line.split(":")[0].lower() not in names]
        await both.compare(method, target, mixed, chance.choice(RESPONSES[:16]))
    assert forwarding_of(both.gates[0]).served > 40
