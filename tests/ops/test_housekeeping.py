"""What is swept, closed and proved, and that it leaves the rest alone."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import func, select, update

from tests import kit
from tests.conftest import GateClient
from zenzefi.accounts.models import users
from zenzefi.audit.models import audit_logs
from zenzefi.db.engine import DATABASE
from zenzefi.ops.housekeeping import Housekeeping
from zenzefi.ops.metrics import ACTIVE_SESSIONS, ACTIVE_TOKENS, LEDGER_MISMATCHES
from zenzefi.tokens.models import usage_sessions


def work(gate: GateClient) -> Housekeeping:
    return Housekeeping(gate.app[DATABASE], audit_retention=timedelta(days=365))


async def test_running_tokens_are_counted_and_idle_sessions_closed(gate: GateClient) -> None:
    token = await kit.buy(gate, await kit.sign_up(gate))
    await work(gate).count()
    assert ACTIVE_TOKENS._value.get() == 0  # bought, but its clock does not run yet
    async with gate.get(
        "/api/v1/proxy/", headers={"X-Access-Token": str(token["token"])}
    ) as response:
        assert response.status == 200
    now = datetime.now(UTC)
    row = {"token_id": UUID(token["id"]), "user_id": await kit.user_id_of(gate)}
    old, new = uuid4(), uuid4()
    async with gate.app[DATABASE].begin() as connection:
        for session, seen in ((old, now - timedelta(hours=1)), (new, now)):
            await connection.execute(
                usage_sessions.insert().values(
                    id=session, started_at=seen, last_seen_at=seen, **row
                )
            )
    await work(gate).end_idle_sessions()
    await work(gate).count()
    assert ACTIVE_TOKENS._value.get() == 1
    assert ACTIVE_SESSIONS._value.get() >= 1
    async with gate.app[DATABASE].read() as connection:
        query = select(usage_sessions.c.id, usage_sessions.c.end_reason)
        ended = {one.id: one.end_reason for one in await connection.execute(query)}
    assert (ended[old], ended[new]) == ("idle", None)


async def test_the_proof_finds_a_balance_that_nobody_booked(gate: GateClient) -> None:
    await kit.sign_up(gate)
    await kit.give(gate, "10.00")
    await work(gate).prove_ledger()
    assert LEDGER_MISMATCHES._value.get() == 0
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(update(users).values(currency_balance=999))
    await work(gate).prove_ledger()
    assert LEDGER_MISMATCHES._value.get() == 1
    LEDGER_MISMATCHES.set(0)


async def test_sweeping_takes_only_what_is_old(gate: GateClient) -> None:
    await kit.sign_up(gate)
    async with gate.app[DATABASE].begin() as connection:
        before = (await connection.execute(select(func.count()).select_from(audit_logs))).scalar()
        await connection.execute(
            audit_logs.insert().values(
                action="user.signed_in",
                resource_type="user",
                details="{}",
                created_at=datetime.now(UTC) - timedelta(days=400),
            )
        )
    await work(gate).sweep()
    await work(gate).expire_payments()
    async with gate.app[DATABASE].read() as connection:
        after = (await connection.execute(select(func.count()).select_from(audit_logs))).scalar()
    assert after == before
