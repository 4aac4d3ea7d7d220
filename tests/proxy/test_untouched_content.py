"""Files to save and responses with ``no-transform`` reach the browser byte for byte."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession

from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.proxy_gates import GateFactory


@pytest.mark.parametrize("kind", ["text/html", "application/json", "text/javascript", "text/css"])
@pytest.mark.parametrize(
    "header", ["Content-Disposition: attachment; filename=x", "Cache-Control: no-transform"]
)
async def test_the_body_and_its_length_stay(
    start_gate: GateFactory, faulty: FaultyUpstream, client: ClientSession, kind: str, header: str
) -> None:
    body = f'<a href="{faulty.url}/x"> url(/x) ["{faulty.url}/x"]'.encode()

    async def script(wire: Wire) -> None:
        head = f'HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{header}\r\nETag: "1"\r\n'
        await wire.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    faulty.script = script
    gate = await start_gate(faulty.url)
    async with client.get(gate.proxy_url + "/x") as response:
        assert await response.read() == body
        assert response.headers["Content-Length"] == str(len(body))
        assert response.headers["ETag"] == '"1"'
