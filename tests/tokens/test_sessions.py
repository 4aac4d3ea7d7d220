"""Sessions: counted once in spite of failures, listed while they last, and ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientError, web
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from tests.kit.api import BOB, buy, call, sign_up
from tests.kit.gates import GateClient, MakeGate
from tests.kit.recording_upstream import RecordingUpstream
from tests.kit.tokens import SOON, active_token, validator_of
from tests.kit.waiting import until
from zenzefi.db.engine import DATABASE
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.proxy.errors import UpstreamUnreachable
from zenzefi.tokens import sessions as module
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.models import SESSION_IDLE, usage_sessions
from zenzefi.tokens.open_connections import ClientIdentity
from zenzefi.tokens.sessions import MAX_OPEN_OF_TOKEN, OTHERS, SESSION_TRACKER, SessionTracker

WHO = ClientIdentity("a-device-id", "192.0.2.7", "Firefox")


async def _rows(gate: GateClient) -> list[Any]:
    async with gate.app[DATABASE].read() as connection:
        return list(await connection.execute(select(usage_sessions)))


def _note(usage: SessionTracker, access: TokenAccess, **counts: int) -> None:
    about = {"device_id": WHO.device_id, "address": WHO.address, "agent": WHO.agent}
    usage.note(access, **about, **({"bytes_in": 1, "bytes_out": 10} | counts))  # type: ignore[arg-type]


async def test_a_repeated_write_counts_once(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection failed during COMMIT: its result is unknown, so it is repeated."""
    _, access, _ = await active_token(gate)
    usage = gate.app[SESSION_TRACKER]
    _note(usage, access)
    write = usage._write

    async def lost(sessions: list[Any]) -> None:
        await write(sessions)
        raise DatabaseUnavailable

    monkeypatch.setattr(usage, "_write", lost)
    with pytest.raises(DatabaseUnavailable):
        await usage.flush()
    monkeypatch.setattr(usage, "_write", write)
    _note(usage, access)
    await usage.flush()
    (row,) = await _rows(gate)
    assert (row.requests, row.bytes_in, row.bytes_out) == (2, 2, 20)


async def test_an_invalid_session_does_not_prevent_the_others_from_being_written(
    gate: GateClient,
) -> None:
    _, access, _ = await active_token(gate)
    usage = gate.app[SESSION_TRACKER]
    _note(usage, TokenAccess(uuid4(), access.user_id, "full", 24))  # an unknown token
    _note(usage, access)
    await usage.flush()
    (row,) = await _rows(gate)
    assert row.token_id == access.token_id
    _note(usage, access)
    await usage.flush()
    assert (await _rows(gate))[0].requests == 2


async def test_counts_are_kept_while_the_database_is_unavailable(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, access, _ = await active_token(gate)
    usage = gate.app[SESSION_TRACKER]

    class Away:
        async def __aenter__(self) -> None:
            raise DatabaseUnavailable from OperationalError("", {}, Exception())

        async def __aexit__(self, *error: object) -> None:
            return None

    database = gate.app[DATABASE]
    monkeypatch.setattr(database, "begin", Away)
    for _ in range(3):
        _note(usage, access)
        with pytest.raises(DatabaseUnavailable):
            await usage.flush()
    monkeypatch.undo()
    await usage.flush()
    assert (await _rows(gate))[0].requests == 3


async def test_concurrent_requests_during_writes_are_counted_once(gate: GateClient) -> None:
    _, access, _ = await active_token(gate)
    usage = gate.app[SESSION_TRACKER]

    async def use(number: int) -> None:
        with usage.begin(access, WHO) as one:
            one.progress = lambda: (number, 100)
            await asyncio.sleep(0.001 * (number % 7))

    async def write() -> None:
        for _ in range(20):
            await usage.flush()

    await asyncio.gather(write(), *(use(number) for number in range(300)))
    await usage.flush()
    (row,) = await _rows(gate)
    assert (row.requests, row.bytes_in, row.bytes_out) == (300, sum(range(300)), 30_000)


async def test_open_connections_are_listed_and_counted_while_they_last(gate: GateClient) -> None:
    _, access, bearer = await active_token(gate)
    usage = gate.app[SESSION_TRACKER]
    moved = [5, 50]
    with usage.begin(access, WHO) as use:
        use.progress = lambda: (moved[0], moved[1])
        for expected in (50, 100):
            moved[1] = expected
            await usage.flush()
            path = "/tokens/sessions?active_only=true"
            _, listed = await call(gate, "GET", path, bearer=bearer)
            (session,) = listed["items"]
            assert (session["requests"], session["bytes_out"]) == (1, expected)
        moved[1] = 120
    await usage.flush()
    (row,) = await _rows(gate)
    assert (row.requests, row.bytes_in, row.bytes_out) == (1, 5, 120)


async def test_a_gate_error_before_any_byte_is_not_counted(gate: GateClient) -> None:
    _, access, _ = await active_token(gate)
    usage = gate.app[SESSION_TRACKER]
    with suppress(UpstreamUnreachable), usage.begin(access, WHO):
        raise UpstreamUnreachable
    await usage.flush()
    assert await _rows(gate) == []


@pytest.mark.parametrize("is_written_before", [True, False])
async def test_a_revoked_token_leaves_no_live_session(
    gate: GateClient, is_written_before: bool
) -> None:
    _, access, bearer = await active_token(gate)
    usage = gate.app[SESSION_TRACKER]
    with usage.begin(access, WHO) as use:
        use.progress = lambda: (1, 10)
        if is_written_before:
            await usage.flush()
        await call(gate, "DELETE", f"/tokens/{access.token_id}", bearer=bearer)
        use.progress = lambda: (1, 15)
    _note(usage, access)  # counted a moment later
    await usage.flush()
    rows = await _rows(gate)
    assert all(row.ended_at is not None and row.end_reason == "revoked" for row in rows)
    assert sum(row.bytes_out for row in rows) == 25


async def test_an_aborted_download_is_counted(
    gate: GateClient, upstream: RecordingUpstream
) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b"x" * 10_000)
                await asyncio.sleep(0.005)
        return response

    upstream.handlers["/endless"] = endless
    bearer = await sign_up(gate)
    token = await buy(gate, bearer)
    for agent in (
        "first",
        "second",
    ):  # the first one activates the token, so that the second needs no task
        headers = {"X-Access-Token": token["token"], "User-Agent": agent}
        with suppress(ClientError):
            async with gate.get("/api/v1/proxy/endless", headers=headers) as response:
                await response.content.readexactly(50_000)
                response.close()
    usage = gate.app[SESSION_TRACKER]
    async with asyncio.timeout(SOON):
        while True:
            await usage.flush()
            counted = {row.agent: row.bytes_out for row in await _rows(gate)}
            if len(counted) == 2 and min(counted.values()) >= 50_000:
                break
            await asyncio.sleep(0.1)


async def test_forward_auth_is_counted(gate: GateClient) -> None:
    token, _, _ = await active_token(gate)
    headers = {"X-Access-Token": token, "User-Agent": "nginx asks"}
    async with gate.get("/api/v1/auth/verify", headers=headers) as response:
        assert response.status == 204
    await gate.app[SESSION_TRACKER].flush()
    (row,) = await _rows(gate)
    assert (row.agent, row.requests) == ("nginx asks", 1)
    assert validator_of(gate).open_connections.devices() == {}


async def test_the_session_tables_are_bounded(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_SESSIONS", 3)
    monkeypatch.setattr(gate.app[SESSION_TRACKER]._open, "capacity", 3)
    _, access, bearer = await active_token(gate)
    usage = gate.app[SESSION_TRACKER]
    for number in range(6):
        usage.note(
            access, device_id=None, address="192.0.2.1", agent=str(number), bytes_in=0, bytes_out=1
        )
    assert [len(usage._open), len(usage._changed), len(usage._of_token)] == [3, 3, 1]
    await call(gate, "DELETE", f"/tokens/{access.token_id}", bearer=bearer)
    assert [len(usage._open), len(usage._of_token)] == [0, 0]


VARIED = {
    "agents": lambda n: {"User-Agent": f"Browser {n}"},
    "addresses": lambda n: {"X-Forwarded-For": f"198.51.100.{n}"},
    "devices": lambda n: {"X-Device-ID": f"device-{n:08}"},
    "all": lambda n: {"User-Agent": f"B {n}", "X-Forwarded-For": f"2001:db8::{n}"},
}


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "by a task"])
@pytest.mark.parametrize("varied", VARIED)
async def test_a_client_with_varying_headers_does_not_fill_the_table(
    make_gate: MakeGate, upstream: RecordingUpstream, varied: str, at_once: bool
) -> None:
    gate = await make_gate(
        zenzefi_target_url=upstream.origin,
        trusted_proxies="127.0.0.0/8",
        fast_lane=at_once,
        device_policy="off",
    )
    token, _, bearer = await active_token(gate)
    for number in range(60):
        headers = {"X-Access-Token": token, **VARIED[varied](number)}
        for _ in range(2):
            async with gate.get("/api/v1/proxy/page", headers=headers) as response:
                assert response.status == 200
    # Requests without a task are counted once a second.
    await until(
        lambda: sum(one.requests for one in gate.app[SESSION_TRACKER]._open.values()) == 120
    )
    await gate.app[SESSION_TRACKER].flush()
    rows = await _rows(gate)
    assert len(rows) == MAX_OPEN_OF_TOKEN + 1
    (others,) = [row for row in rows if row.agent == OTHERS]
    assert (others.device, others.address) == (None, None)
    _, listed = await call(gate, "GET", "/tokens/sessions?limit=100", bearer=bearer)
    assert listed["total"] == len(rows)


async def test_further_clients_of_a_token_are_counted_together(gate: GateClient) -> None:
    _, access, _ = await active_token(gate)
    other, _ = await _another(gate)
    usage = gate.app[SESSION_TRACKER]
    for number in range(100):
        usage.note(
            access, device_id=None, address="", agent=f"agent {number}", bytes_in=1, bytes_out=10
        )
    usage.note(
        other, device_id=None, address="", agent="of another token", bytes_in=1, bytes_out=10
    )
    await usage.flush()
    rows = await _rows(gate)
    mine = [row for row in rows if row.token_id == access.token_id]
    assert len(mine) == MAX_OPEN_OF_TOKEN + 1
    assert sum(row.requests for row in mine) == 100
    assert sum(row.bytes_out for row in mine) == 1000
    (theirs,) = [row for row in rows if row.token_id == other.token_id]
    assert theirs.agent == "of another token"


async def _another(gate: GateClient) -> tuple[TokenAccess, str]:
    bearer = await sign_up(gate, BOB)
    token = (await buy(gate, bearer))["token"]
    return await validator_of(gate).activate(await validator_of(gate).validate(token)), bearer


async def test_idle_sessions_make_room_for_new_ones(gate: GateClient) -> None:
    _, access, _ = await active_token(gate)
    usage = gate.app[SESSION_TRACKER]
    for number in range(MAX_OPEN_OF_TOKEN):
        usage.note(access, device_id=None, address="", agent=f"{number}", bytes_in=0, bytes_out=1)
    for session in usage._open.values():
        session.last_seen_at -= SESSION_IDLE * 2
    usage.note(access, device_id=None, address="", agent="a new one", bytes_in=0, bytes_out=1)
    assert [key[3] for key in usage._open] == ["a new one"]


async def test_ending_the_session_of_other_devices_closes_only_their_connections(
    gate: GateClient,
) -> None:
    _, access, bearer = await active_token(gate)
    usage = gate.app[SESSION_TRACKER]
    closed: list[int] = []

    def close(number: int, _reason: str) -> None:
        closed.append(number)

    clients = [
        ClientIdentity(None, "192.0.2.1", f"agent {n}") for n in range(MAX_OPEN_OF_TOKEN + 5)
    ]
    for number, who in enumerate(clients):
        usage.begin(access, who).count()
        validator_of(gate).register(access, partial(close, number), who)
    await usage.flush()
    (others,) = [row for row in await _rows(gate) if row.agent == OTHERS]
    status, _ = await call(gate, "DELETE", f"/tokens/sessions/{others.id}", bearer=bearer)
    assert status == 200
    await until(lambda: len(closed) == 5)
    assert sorted(closed) == list(range(MAX_OPEN_OF_TOKEN, MAX_OPEN_OF_TOKEN + 5))
