"""The gate's own paths are never the script of a service worker."""

from __future__ import annotations

import pytest

from tests.kit.gates import GateClient
from tests.kit.recording_upstream import RecordingUpstream

SCRIPT = {"Service-Worker": "script", "Sec-Fetch-Dest": "serviceworker"}


@pytest.mark.parametrize(
    "path", ["/login", "/static/site.js", "/", "/sw.js", "/api/v1/sw.js", "/api/v1/proxy", "/docs"]
)
async def test_a_service_worker_cannot_be_registered_on_the_gates_paths(
    gate: GateClient, upstream: RecordingUpstream, path: str
) -> None:
    referer = {"Referer": str(gate.make_url("/api/v1/proxy/page"))}
    async with gate.get(path, headers=SCRIPT | referer, allow_redirects=False) as response:
        assert response.status == 403
        assert (await response.json())["code"] == "cross_site_refused"
    assert upstream.requests == []


async def test_the_application_responds_below_the_mount(gate: GateClient) -> None:
    async with gate.get("/api/v1/proxy/sw.js", headers=SCRIPT) as response:
        assert response.status == 401
