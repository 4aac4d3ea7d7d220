"""Activation: the first request that reaches the upstream starts the token's time."""

from __future__ import annotations

import pytest
from aiohttp import WSMsgType, WSServerHandshakeError, web
from sqlalchemy import select

from tests.kit.api import buy, call, sign_up
from tests.kit.gates import GateClient, MakeGate
from tests.kit.recording_upstream import RecordingUpstream
from tests.kit.tokens import validator_of
from zenzefi.db.engine import DATABASE
from zenzefi.tokens.models import access_tokens
from zenzefi.tokens.token_format import new_token

PROXY = "/api/v1/proxy"
DEVICE, OTHER = "0123456789abcdef0000", "0123456789abcdef0001"


async def _is_activated(gate: GateClient) -> bool:
    async with gate.app[DATABASE].read() as connection:
        return (await connection.execute(select(access_tokens.c.activated_at))).scalar() is not None


async def _status(gate: GateClient, token: str, path: str, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with gate.get(path, headers={"X-Access-Token": token, **named}) as response:
        return response.status


async def test_a_status_request_does_not_activate_the_token(gate: GateClient) -> None:
    token = (await buy(gate, await sign_up(gate)))["token"]
    for _ in range(3):
        assert await _status(gate, token, f"{PROXY}/status") == 200
        status, _ = await call(gate, "POST", "/proxy/authenticate", json={"token": token})
        assert status == 200
    assert not await _is_activated(gate)
    assert await _status(gate, token, f"{PROXY}/x") == 200
    assert await _is_activated(gate)


async def test_a_refused_request_does_not_activate_the_token(
    make_gate: MakeGate, upstream: RecordingUpstream
) -> None:
    gate = await make_gate(
        zenzefi_target_url=upstream.origin, device_policy="required", rate_limit_proxy="2/hour"
    )
    bearer = await sign_up(gate)
    token = (await buy(gate, bearer, scope="certificates_only"))["token"]
    assert await _status(gate, new_token(), f"{PROXY}/certificates/1", X_Device_ID=DEVICE) == 401
    assert await _status(gate, token, f"{PROXY}/admin", X_Device_ID=DEVICE) == 403
    assert await _status(gate, token, f"{PROXY}/certificates/1") == 403
    assert await _status(gate, token, f"{PROXY}/certificates/1", X_Device_ID=DEVICE) == 429
    assert not await _is_activated(gate)
    assert upstream.requests == []


async def test_a_device_conflict_does_not_activate_the_token(
    make_gate: MakeGate, upstream: RecordingUpstream
) -> None:
    gate = await make_gate(zenzefi_target_url="http://127.0.0.1:9")
    token = (await buy(gate, await sign_up(gate)))["token"]
    # The first device has claimed the token, although its upstream is unreachable.
    assert await _status(gate, token, f"{PROXY}/x", X_Device_ID=DEVICE) == 502
    assert await _status(gate, token, f"{PROXY}/x", X_Device_ID=OTHER) == 409
    assert not await _is_activated(gate)


async def test_an_unreachable_upstream_does_not_activate_the_token(make_gate: MakeGate) -> None:
    gate = await make_gate(zenzefi_target_url="http://127.0.0.1:9")
    token = (await buy(gate, await sign_up(gate)))["token"]
    assert await _status(gate, token, f"{PROXY}/x") == 502
    with pytest.raises(WSServerHandshakeError) as refusal:
        await gate.ws_connect(f"{PROXY}/x?token={token}")
    assert refusal.value.status == 502
    assert not await _is_activated(gate)


async def test_a_scope_applies_to_websockets(gate: GateClient, upstream: RecordingUpstream) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                await ws.send_str(message.data)
        return ws

    upstream.handlers["/certificates/live"] = upstream.handlers["/admin/live"] = echo
    token = (await buy(gate, await sign_up(gate), scope="certificates_only"))["token"]
    for path in ("/admin/live", "/certificates/..%2fadmin/live", "/certificates//live"):
        with pytest.raises(WSServerHandshakeError) as refusal:
            await gate.ws_connect(f"{PROXY}{path}?token={token}")
        assert refusal.value.status in (400, 403)
    assert not await _is_activated(gate)
    async with gate.ws_connect(f"{PROXY}/certificates/live?token={token}") as ws:
        await ws.send_str("hello")
        assert (await ws.receive()).data == "hello"
    assert await _is_activated(gate)
    assert validator_of(gate).open_connections.devices() == {}
