"""The upstream receives the target that was checked, and nothing else is connected to."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.faulty_upstream import FaultyUpstream
from tests.kit.proxy_gates import PREFIX, TOKEN, MemoryTokenValidator, proxy_app
from zenzefi.runtime.drain import GateRunner

OWN = "app.gate.test"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 0\r\n\r\n"

connected: set[object] = set()


def listen(event: str, details: tuple[object, ...]) -> None:
    """Python reports every connection that this process opens (PEP 578)."""
    if event == "socket.connect":
        connected.add(details[1])


sys.addaudithook(listen)


class Stage:
    """A gate and its upstream on a loop in another thread, for tests without a loop."""

    def __init__(self, data_dir: Path, *, at_once: bool) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.run(self._start(data_dir, at_once=at_once))

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    async def _start(self, data_dir: Path, *, at_once: bool) -> None:
        self.upstream = FaultyUpstream()
        await self.upstream.start()
        self.upstream.always(RESPONSE)
        tokens = MemoryTokenValidator()
        tokens.add(activated=True)
        app = proxy_app(
            tokens,
            data_dir,
            self.upstream.url,
            port=0,
            backend_url="http://gate.test",
            proxy_host=OWN,
            fast_lane=at_once,
        )
        self.runner = GateRunner(app, drain_timeout=1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.address = self.runner.addresses[0]

    def request(self, target: bytes, host: bytes) -> tuple[bytes, list[bytes]]:
        """The status, and the heads that the upstream received."""
        self.upstream.heads.clear()
        with socket.create_connection(self.address, timeout=10) as sock:
            sock.sendall(
                b"GET %b HTTP/1.1\r\nHost: %b\r\nX-Access-Token: %b\r\nConnection: close\r\n\r\n"
                % (target, host, TOKEN.encode())
            )
            response = b""
            while piece := sock.recv(65536):
                response += piece
        return response[9:12], list(self.upstream.heads)

    def stop(self) -> None:
        async def stop() -> None:
            await self.runner.cleanup()
            await self.upstream.stop()

        self.run(stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture(scope="module", params=[True, False], ids=["at once", "by a task"])
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("stage"), at_once=request.param)
    yield stage
    stage.stop()


PIECES = st.sampled_from(
    "/ // a b.c . .. %2e %2E%2e %252e %2f %5c \\ %25 %c0%ae ;x=1 ..; ? & = # @ : %00 %0d%0a %zz é"
    f" http:// https:// evil.test //evil.test @evil.test {PREFIX} token= token={TOKEN} {TOKEN}"
    f" {OWN} status enter".split(" ")
)
TEXTS = st.lists(PIECES, max_size=5).map("".join)
HOSTS = st.sampled_from(["gate.test", OWN, OWN.upper(), "evil.test", "127.0.0.1", "evil.test@x"])
FRONTS = st.sampled_from(
    ["", "/", PREFIX, PREFIX + "/", PREFIX * 2 + "/", "//", "http://evil.test/", "evil.test:80"]
    + [f"http://{host}{path}" for host in ("gate.test", OWN) for path in ("/", PREFIX + "/", "")]
)


def expected(target: str, host: str) -> str | None:
    """The target that the upstream may receive, derived differently from the gate's code."""
    absolute = re.match(r"(?i)https?://([^/?]*)", target)
    if absolute:
        target = target[absolute.end() :]
        target = target if target.startswith("/") else "/" + target
    path, mark, query = target.partition("?")
    below = path == PREFIX or path.startswith(PREFIX + "/")
    if host.lower() != OWN and not path.startswith(PREFIX + "/"):
        return None
    while below:
        path = path[len(PREFIX) :] or "/"
        below = path == PREFIX or path.startswith(PREFIX + "/")
    parts = query.split("&")
    kept = [part for part in parts if part != f"token={TOKEN}"]
    query = "&".join(kept)
    return path + ("" if len(kept) < len(parts) and not query else mark + query)


@settings(max_examples=500, deadline=None)
@given(FRONTS, TEXTS, HOSTS)
def test_the_upstream_receives_exactly_the_checked_target_or_nothing(
    stage: Stage, front: Any, text: str, host: str
) -> None:
    target = front + text
    connected.clear()
    status, heads = stage.request(target.encode(), host.encode())
    upstream = ("127.0.0.1", int(stage.upstream.url.rpartition(":")[2]))
    assert connected <= {stage.address, upstream}
    assert status.isdigit()
    if not heads:
        assert status != b"502"
        return
    (head,) = heads
    line, *lines = head.decode().split("\r\n")
    assert line == f"GET {expected(target, host)} HTTP/1.1"
    assert f"Host: 127.0.0.1:{upstream[1]}" in lines
    sent, _, query = line.split(" ")[1].partition("?")
    assert f"token={TOKEN}" not in query.split("&")
    path = sent.encode()
    for _ in range(10):
        assert b"\\" not in path
        assert not {b".", b".."} & {part.partition(b";")[0] for part in path.split(b"/")}
        path = unquote_to_bytes(path)
