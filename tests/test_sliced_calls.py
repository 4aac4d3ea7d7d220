"""Many short calls are spread over the steps of the event loop."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from zenzefi.sliced_calls import SlicedCalls


async def test_a_step_of_the_loop_runs_one_slice() -> None:
    ran: list[int] = []
    sliced = SlicedCalls(3)
    sliced.add([lambda number=number: ran.append(number) for number in range(8)])  # type: ignore[misc]
    seen = [list(ran)]
    while len(sliced):
        await asyncio.sleep(0)
        seen.append(list(ran))
    assert seen == [list(range(end)) for end in (3, 6, 8)]


async def test_calls_added_in_the_same_step_wait_for_the_next() -> None:
    ran: list[str] = []
    sliced = SlicedCalls(2)

    def adding() -> None:
        ran.append("first")
        sliced.add([lambda: ran.append("added inside")])

    sliced.add([adding])
    sliced.add([lambda: ran.append("added later"), lambda: ran.append("third")])
    assert ran == ["first"]
    await asyncio.sleep(0)
    assert ran == ["first", "added inside", "added later"]
    await asyncio.sleep(0)
    assert ran == ["first", "added inside", "added later", "third"]


async def test_after_a_pause_the_first_slice_runs_at_once() -> None:
    ran: list[int] = []
    sliced = SlicedCalls(1)
    for number in range(3):
        sliced.add([lambda number=number: ran.append(number)])  # type: ignore[misc]
        assert ran == list(range(number + 1))
        await asyncio.sleep(0)


async def test_a_failed_call_does_not_prevent_the_others(caplog: pytest.LogCaptureFixture) -> None:
    ran: list[int] = []

    def fails() -> None:
        raise RuntimeError("on purpose")

    calls: list[Callable[[], object]] = [fails, lambda: ran.append(1)]
    with caplog.at_level(logging.ERROR):
        SlicedCalls().add(calls)
    assert ran == [1]
    assert "failed to run a deferred call" in caplog.text


async def test_cleared_calls_do_not_run() -> None:
    ran: list[int] = []
    sliced = SlicedCalls(1)
    sliced.add([lambda: ran.append(1), lambda: ran.append(2)])
    sliced.clear()
    await asyncio.sleep(0)
    assert ran == [1]


async def test_calls_wait_for_more_urgent_ones_elsewhere() -> None:
    ran: list[str] = []
    urgent = SlicedCalls(1)
    later = SlicedCalls(2, lambda: bool(urgent))
    urgent.add([lambda: ran.append("urgent")] * 3)
    later.add([lambda: ran.append("later")] * 2)
    while len(later):  # noqa: ASYNC110 - the loop runs them
        await asyncio.sleep(0)
    assert ran == ["urgent"] * 3 + ["later"] * 2
