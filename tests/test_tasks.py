"""Background and periodic tasks: failures are logged, and no task runs longer than its owner."""

import asyncio
import logging

import pytest

from zenzefi import tasks
from zenzefi.tasks import background_task, repeat_every


async def test_a_periodic_task_runs_until_its_context_exits() -> None:
    runs = 0
    enough = asyncio.Event()

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            enough.set()

    async with repeat_every(0.001, work, name="periodic") as task:
        assert task.get_name() == "periodic"
        await asyncio.wait_for(enough.wait(), 10)
    assert task.cancelled()
    assert runs >= 3


async def test_the_interval_may_change_between_runs() -> None:
    intervals = iter([0.001, 0.002])
    asked: list[float] = []
    done = asyncio.Event()

    def seconds() -> float:
        asked.append(next(intervals, 3600))
        if len(asked) == 3:
            done.set()
        return asked[-1]

    async with repeat_every(seconds, lambda: None, name="periodic"):
        await asyncio.wait_for(done.wait(), 10)
    assert asked == [0.001, 0.002, 3600]


async def test_a_failed_run_is_logged_and_the_next_one_takes_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors: list[Exception] = [OSError("expected"), ValueError("broken")]
    done = asyncio.Event()

    def work() -> None:
        if not errors:
            done.set()
            return
        raise errors.pop(0)

    async with repeat_every(0.001, work, name="periodic", ignored=(OSError,)):
        await asyncio.wait_for(done.wait(), 10)
    failures = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert [r.getMessage() for r in failures] == ["periodic task failed: task=periodic"]
    assert "broken" in str(failures[0].exc_info)


async def test_the_failure_of_a_background_task_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise ValueError("broken")

    async with background_task(work(), name="background") as task:
        await asyncio.wait([task])
    assert "background task failed: task=background" in caplog.text


async def test_a_task_that_swallows_a_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "_CANCEL_AGAIN", 0.001)
    swallowed = 0

    async def work() -> None:
        nonlocal swallowed
        while swallowed < 2:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                swallowed += 1

    async with background_task(work(), name="stubborn") as task:
        await asyncio.sleep(0)
    assert task.done()
    assert swallowed == 2
