"""The run-time script on its way: served below the prefix, loaded first by workers."""

from __future__ import annotations

import re

from aiohttp import ClientSession

from tests.kit.proxy_gates import TOKEN, GateFactory
from zenzefi.demo import running_demo
from zenzefi.rewriting.runtime import RUNTIME_PATH, runtime_source, runtime_version


async def test_the_script_is_served_without_a_token_and_kept(start_gate: GateFactory) -> None:
    async with running_demo() as origin, ClientSession() as session:
        gate = await start_gate(origin)
        url = gate.proxy_url + RUNTIME_PATH
        async with session.get(url, params={"v": runtime_version()}) as response:
            assert await response.read() == runtime_source()
            assert "immutable" in response.headers["Cache-Control"]
            assert response.content_type == "text/javascript"
            etag = response.headers["ETag"]
        async with session.get(url, headers={"If-None-Match": etag}) as response:
            assert response.status == 304


async def test_the_script_is_at_the_root_of_the_own_origin(start_gate: GateFactory) -> None:
    async with running_demo() as origin, ClientSession() as session:
        gate = await start_gate(origin)
        host = {"Host": f"app.localhost:{gate.url.rpartition(':')[2]}"}
        async with session.get(gate.url + RUNTIME_PATH, headers=host) as response:
            assert await response.read() == runtime_source()


async def test_a_worker_loads_the_script_first_and_a_plain_script_does_not(
    start_gate: GateFactory,
) -> None:
    async with running_demo() as origin, ClientSession() as session:
        gate = await start_gate(origin)

        async def script(destination: str, query: str = "") -> bytes:
            headers = {"X-Access-Token": TOKEN, "Sec-Fetch-Dest": destination}
            url = f"{gate.proxy_url}/static/js/hand.js{query}"
            async with session.get(url, headers=headers) as response:
                varies = "Sec-Fetch-Dest" in response.headers.get("Vary", "")
                assert varies == (destination != "script")
                return await response.read()

        async with session.get(f"{origin}/static/js/hand.js") as response:
            plain = await response.read()
        assert await script("script") == plain
        for destination in ("worker", "sharedworker", "serviceworker"):
            first, rest = (await script(destination)).split(b";", 1)
            assert first.startswith(b"try{importScripts(") is True
            assert rest == plain
        module = await script("worker", "?.zenzefi-worker=module")
        assert module.startswith(b'import "/api/v1/proxy/.zenzefi/runtime.js?v=')
        assert module.endswith(plain)


async def test_a_marked_script_is_for_a_worker_where_browsers_do_not_say_so(
    start_gate: GateFactory,
) -> None:
    """On an insecure origin browsers send no fetch metadata."""
    async with running_demo() as origin, ClientSession() as session:
        gate = await start_gate(origin)

        async def script(query: str) -> bytes:
            url = f"{gate.proxy_url}/static/js/hand.js{query}"
            async with session.get(url, headers={"X-Access-Token": TOKEN}) as response:
                return await response.read()

        plain = await script("")
        for _ in range(2):
            marked = await script("?.zenzefi-worker=classic")
            assert marked.startswith(b"try{importScripts(")
            assert marked.endswith(plain)
            assert await script("") == plain


async def test_no_response_reveals_the_upstreams_address(start_gate: GateFactory) -> None:
    async with running_demo() as origin, ClientSession() as session:
        gate = await start_gate(origin)
        host = origin.partition("://")[2].encode()
        pages = [("document", path) for path in ("/", "/lights/", "/checks/", "/sinks/quiet")]
        scripts = [(kind, "/static/js/hand.js") for kind in ("script", "worker", "serviceworker")]
        for destination, path in [*pages, *scripts]:
            headers = {"X-Access-Token": TOKEN, "Sec-Fetch-Dest": destination}
            async with session.get(gate.proxy_url + path, headers=headers) as response:
                assert response.status == 200
                body = await response.read()
                assert (b"runtime.js" in body) == (destination != "script")
                # The one thing that the demo site says of itself where no address is expected.
                body = re.sub(rb'<meta property="og:image" [^>]*>', b"", body)
                assert host not in body
                assert host not in b"".join(value for _, value in response.raw_headers)
