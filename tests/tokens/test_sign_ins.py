"""Sign-ins of browsers: start, look-up and end on every node, also with servers unavailable."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update

from tests.kit.gates import SECRET_KEY, GateClient, Stores, running_gate
from tests.kit.servers import Postgres, own_redis
from tests.kit.tokens import SOON, active_token, subscribed, validator_of
from tests.kit.waiting import until
from zenzefi.db.engine import DATABASE
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.maintenance.housekeeping import Housekeeping
from zenzefi.tokens import sign_ins as module
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.errors import SignInRequired
from zenzefi.tokens.models import proxy_sign_ins
from zenzefi.tokens.open_connections import ClientIdentity
from zenzefi.tokens.sign_in_repository import BrowserSignIn
from zenzefi.tokens.sign_ins import SIGN_INS, BrowserSignIns


def of(node: GateClient) -> BrowserSignIns:
    return node.app[SIGN_INS]


async def sign_in(node: GateClient, access: TokenAccess, family: UUID | None = None) -> str:
    return await of(node).start(
        access, family=family, address="192.0.2.7", agent="Mozilla/5.0 X/1", is_sealed=True
    )


async def found(node: GateClient, *secrets: str) -> list[BrowserSignIn]:
    return [one for _, one in await of(node).find(secrets)]


def forget(node: GateClient) -> None:
    """As if the cached entries had expired."""
    of(node)._known.clear()


async def rows(node: GateClient) -> int:
    async with node.app[DATABASE].read() as connection:
        query = select(func.count()).select_from(proxy_sign_ins)
        return int((await connection.execute(query)).scalar_one())


async def test_a_sign_in_is_found_by_its_secret_and_belongs_to_one_token(
    gate: GateClient,
) -> None:
    token, access, _ = await active_token(gate)
    secret = await sign_in(gate, access)
    for _ in range(2):  # from the process, then from the database
        (one,) = await found(gate, "x" * 43, "short", "", secret)
        assert one.token_id == access.token_id
        assert one.family == one.id
        assert one.is_of("192.0.2.99", "Mozilla/5.0 X/2")
        assert not one.is_of("192.0.3.7", "Mozilla/5.0 X/1")
        assert of(gate).belongs(one, token)
        assert not of(gate).belongs(one, "T" * 64)
        assert of(gate).cached(secret) == one
        forget(gate)
    assert of(gate).cached(secret) is None
    async with gate.app[DATABASE].read() as connection:
        row = (await connection.execute(select(proxy_sign_ins))).one()
    assert secret.encode() not in bytes(row.secret_index)
    assert row.network == "192.0.2.0/24"


async def test_an_expired_sign_in_is_not_found(gate: GateClient) -> None:
    _, access, _ = await active_token(gate)
    secret = await sign_in(gate, access)
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(
            update(proxy_sign_ins).values(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        )
    forget(gate)
    assert await found(gate, secret) == []


async def test_concurrent_look_ups_are_shared_and_unknown_secrets_cached(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, access, _ = await active_token(gate)
    secret = await sign_in(gate, access)
    forget(gate)
    asked: list[int] = []
    look_up = BrowserSignIns._rows

    async def counted(self: BrowserSignIns, indexes: list[bytes]) -> dict[bytes, BrowserSignIn]:
        asked.append(len(indexes))
        return await look_up(self, indexes)

    monkeypatch.setattr(BrowserSignIns, "_rows", counted)
    await asyncio.gather(*(found(gate, secret, "x" * 43) for _ in range(200)))
    assert sum(asked) == 2
    await found(gate, "x" * 43)
    assert sum(asked) == 2


async def test_a_family_of_sign_ins_ends_together(gate: GateClient) -> None:
    _, access, _ = await active_token(gate)
    first = await sign_in(gate, access)
    (parent,) = await found(gate, first)
    child = await sign_in(gate, access, parent.family)
    other = await sign_in(gate, access)
    closed: list[str] = []
    kept: list[str] = []
    for secret, log in ((first, closed), (child, closed), (other, kept)):
        (one,) = await found(gate, secret)
        validator_of(gate).register(
            access, log.append, ClientIdentity(None, "192.0.2.7", "", one.id)
        )
    validator_of(gate).register(
        access, kept.append, ClientIdentity(None, "192.0.2.7", "")
    )  # a header client
    assert await of(gate).end(parent.family) == 2
    await until(lambda: len(closed) == 2)
    assert closed == ["This browser was logged out."] * 2
    assert kept == []
    for _ in range(2):
        assert len(await found(gate, first, child, other)) == 1
        forget(gate)
    with pytest.raises(SignInRequired):
        await sign_in(gate, access, parent.family)
    with pytest.raises(SignInRequired):
        await sign_in(gate, access, uuid4())
    assert await of(gate).end(parent.family) == 0


async def test_a_look_up_in_progress_does_not_restore_an_ended_sign_in(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, access, _ = await active_token(gate)
    secret = await sign_in(gate, access)
    (one,) = await found(gate, secret)
    forget(gate)
    read, go_on = asyncio.Event(), asyncio.Event()
    look_up = BrowserSignIns._rows

    async def slow(self: BrowserSignIns, indexes: list[bytes]) -> dict[bytes, BrowserSignIn]:
        response = await look_up(self, indexes)
        read.set()
        await go_on.wait()
        return response

    monkeypatch.setattr(BrowserSignIns, "_rows", slow)
    asking = asyncio.create_task(found(gate, secret))
    await read.wait()
    await of(gate).end(one.family)
    go_on.set()
    assert await asking == []
    assert of(gate).cached(secret) is None


async def test_the_number_of_sign_ins_of_a_token_is_bounded(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PER_TOKEN", 3)
    _, access, _ = await active_token(gate)
    made = [await sign_in(gate, access) for _ in range(6)]
    assert await rows(gate) == 3
    forget(gate)
    assert len(await found(gate, *made)) == 3
    assert len(await found(gate, made[-1])) == 1


async def test_housekeeping_deletes_old_sign_ins(gate: GateClient) -> None:
    _, access, _ = await active_token(gate)
    secrets = [await sign_in(gate, access) for _ in range(3)]
    ids = [(await found(gate, secret))[0].id for secret in secrets]
    old = datetime.now(UTC) - timedelta(days=31)
    for which, values in ((0, {"ended_at": old}), (1, {"expires_at": old})):
        async with gate.app[DATABASE].begin() as connection:
            await connection.execute(
                update(proxy_sign_ins).where(proxy_sign_ins.c.id == ids[which]).values(values)
            )
    await Housekeeping(gate.app[DATABASE], audit_retention=timedelta(days=90)).sweep()
    assert await rows(gate) == 1


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"null", b"\xff", b'{"ended":true}', b"9" * 99])
def test_invalid_entries_in_redis_are_ignored(raw: bytes) -> None:
    assert BrowserSignIn.from_json(raw) is None


# --- several nodes, servers away


async def test_an_ended_sign_in_is_refused_on_every_node(nodes: list[GateClient]) -> None:
    here, there = nodes
    _, access, _ = await active_token(here)
    secret = await sign_in(here, access)
    (one,) = await found(there, secret)
    closed: list[str] = []
    validator_of(there).register(
        access, closed.append, ClientIdentity(None, "192.0.2.7", "", one.id)
    )
    await of(here).end(one.family)
    await until(lambda: closed)
    assert of(there).cached(secret) is None
    assert await found(there, secret) == []


async def test_a_node_that_missed_the_message_rechecks_sign_ins(
    cluster: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_redis() as server:
        settings = cluster.settings | {"redis_url": server.url}
        async with running_gate(**settings) as here, running_gate(**settings) as there:
            await subscribed(here)
            await subscribed(there)
            _, access, _ = await active_token(here)
            secret = await sign_in(here, access)
            (one,) = await found(there, secret)
            closed: list[str] = []
            validator_of(there).register(
                access, closed.append, ClientIdentity(None, "192.0.2.7", "", one.id)
            )
            server.stop()
            await until(lambda: not validator_of(there).subscription.is_live)
            assert of(there).cached(secret) is None
            assert await found(there, secret) == [one]  # Redis is away, the database is not
            await of(here).end(one.family)
            await until(lambda: closed)
            assert await found(there, secret) == []
            server.start()


async def test_cached_sign_ins_stay_valid_while_the_database_is_unavailable(
    own_database: Postgres, redis_url: str, tmp_path: Path
) -> None:
    settings = {
        "secret_key": SECRET_KEY,
        "data_dir": tmp_path,
        "database_url": own_database.url,
        "redis_url": redis_url,
    }
    async with running_gate(**settings) as node:
        await subscribed(node)
        _, access, _ = await active_token(node)
        known, ended, unknown = [await sign_in(node, access) for _ in range(3)]
        forget(node)
        await found(node, known)
        (gone,) = await found(node, ended)
        await of(node).end(gone.family)
        await asyncio.to_thread(own_database.stop)
        forget(node)
        assert len(await found(node, known)) == 1
        assert await found(node, ended) == []
        with pytest.raises(DatabaseUnavailable):
            await found(node, unknown)
        assert len(await found(node, unknown, known)) == 1
        with pytest.raises(DatabaseUnavailable):
            await sign_in(node, access)
        own_database.start()  # not in a thread: the server ends with the thread that started it
        async with asyncio.timeout(SOON):
            while True:
                try:
                    assert len(await found(node, unknown)) == 1
                    break
                except DatabaseUnavailable:
                    await asyncio.sleep(0.1)
