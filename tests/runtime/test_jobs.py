"""Periodic work is done by one node at a time, and another takes over."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.kit.waiting import until
from zenzefi.db.engine import Database
from zenzefi.maintenance.housekeeping import reset_metrics
from zenzefi.observability.metrics import ACTIVE_TOKENS, JOB_RUNS, LEDGER_MISMATCHES
from zenzefi.runtime import jobs
from zenzefi.runtime.jobs import Jobs, StillHeld, lock_of


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request: pytest.FixtureRequest) -> str:
    name = {"postgresql": "empty_postgres", "sqlite": "sqlite_database"}[request.param]
    return str(request.getfixturevalue(name))


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_RETRY", 0.05)
    monkeypatch.setattr(jobs, "_ALIVE", 0.05)


@contextlib.asynccontextmanager
async def node(
    url: str, folder: Path, log: list[str], name: str
) -> AsyncIterator[Callable[[], bool]]:
    database = Database(url)
    mine = Jobs(lock_of(database, folder))

    async def work() -> None:
        log.append(name)

    mine.add("sweep", 0.01, work)
    task = asyncio.create_task(mine.run(), name=name)
    try:
        yield lambda: mine.is_leader
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await database.close()


async def test_one_node_works_and_another_takes_over(url: str, tmp_path: Path) -> None:
    done: list[str] = []
    async with node(url, tmp_path, done, "second") as second_leads:
        await until(second_leads)
        async with node(url, tmp_path, done, "late"):
            pass  # came and went without ever leading
        async with contextlib.AsyncExitStack() as first:
            await until(lambda: len(done) > 3)
            assert set(done) == {"second"}
            late_leads = await first.enter_async_context(node(url, tmp_path, done, "third"))
            await until(lambda: len(done) > 10)
            assert set(done) == {"second"}
            assert not late_leads()


async def test_the_lock_passes_on_when_its_holder_goes(url: str, tmp_path: Path) -> None:
    done: list[str] = []
    leaving = node(url, tmp_path, done, "first")
    first_leads = await leaving.__aenter__()
    await until(first_leads)
    async with node(url, tmp_path, done, "second") as second_leads:
        assert not second_leads()
        await leaving.__aexit__(None, None, None)
        await until(lambda: "second" in done)


async def test_who_does_the_work_no_more_forgets_what_it_found(url: str, tmp_path: Path) -> None:
    database = Database(url)
    mine = Jobs(lock_of(database, tmp_path))
    ACTIVE_TOKENS.set(7)
    LEDGER_MISMATCHES.set(1)
    mine.on_leadership_lost(reset_metrics)
    task = asyncio.create_task(mine.run(), name="jobs")
    await until(lambda: mine.is_leader)
    assert ACTIVE_TOKENS._value.get() == 7
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await database.close()
    assert (ACTIVE_TOKENS._value.get(), LEDGER_MISMATCHES._value.get()) == (0, 0)


async def test_nothing_ends_the_periodic_work_for_good(caplog: pytest.LogCaptureFixture) -> None:
    tried = 0

    def broken() -> AbstractAsyncContextManager[StillHeld]:
        nonlocal tried
        tried += 1
        raise ValueError("an unexpected error")

    task = asyncio.create_task(Jobs(broken).run(), name="jobs")
    await until(lambda: tried >= 2)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert "an unexpected error" in caplog.text


async def test_a_job_that_fails_is_counted_and_runs_again(tmp_path: Path, url: str) -> None:
    database = Database(url)
    mine = Jobs(lock_of(database, tmp_path))
    turns = 0

    async def work() -> None:
        nonlocal turns
        turns += 1
        raise ValueError("no luck")

    failed = JOB_RUNS.labels("unlucky", "failed")
    before = failed._value.get()
    mine.add("unlucky", 0.01, work)
    task = asyncio.create_task(mine.run(), name="jobs")
    await until(lambda: turns >= 3)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await database.close()
    assert failed._value.get() - before >= 3
