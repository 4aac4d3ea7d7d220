"""Plugin calls that do not return, or use too much memory, are stopped."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from zenzefi.rewriting.plugins import watchdog
from zenzefi.rewriting.plugins.watchdog import WATCHDOG, Blocked, in_time


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The watchdog at work, with less patience than in service."""
    monkeypatch.setattr(watchdog, "TICK", 0.02)
    monkeypatch.setattr(watchdog, "CPU_SECONDS", 0.1)
    monkeypatch.setattr(watchdog, "WALL_SECONDS", 0.2)
    monkeypatch.setattr(watchdog, "GROWTH", 64 * 1024 * 1024)
    assert WATCHDOG.start()
    yield
    WATCHDOG.stop()


def _watched(call: Callable[[], object]) -> None:
    WATCHDOG.enter()
    try:
        call()
    finally:
        WATCHDOG.leave()


def _loop() -> None:
    while True:
        pass


def _swallow() -> None:
    while True:
        try:
            _loop()
        except Exception:  # what careless code does
            continue


def _backtrack() -> None:
    re.match(r"(a+)+$", "a" * 60 + "b")


def _sleep() -> None:
    time.sleep(60)


def _wait() -> None:
    threading.Event().wait(60)


@pytest.mark.parametrize("call", [_loop, _swallow, _backtrack, _sleep, _wait])
@pytest.mark.usefixtures("quick")
@pytest.mark.timeout(60)
def test_what_holds_the_event_loop_is_ended(call: Callable[[], None]) -> None:
    with pytest.raises(Blocked, match="blocked the event loop"):
        _watched(call)


@pytest.mark.usefixtures("quick")
@pytest.mark.timeout(60)
def test_a_call_that_uses_too_much_memory_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "CPU_SECONDS", 60)
    monkeypatch.setattr(watchdog, "WALL_SECONDS", 60)
    kept: list[bytes] = []

    def eat() -> None:
        while len(kept) < 4000:  # 4 GB, unless it is stopped
            kept.append(b"x" * (1 << 20))
            time.sleep(0.001)

    try:
        with pytest.raises(Blocked, match="too much memory"):
            _watched(eat)
    finally:
        kept.clear()


@pytest.mark.usefixtures("quick")
def test_many_short_calls_and_time_between_them_are_not_counted() -> None:
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        _watched(lambda: None)
    time.sleep(0.3)
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass


def test_it_watches_as_long_as_anybody_wants_it_to() -> None:
    before = threading.active_count()
    assert WATCHDOG.start()
    assert WATCHDOG.start()
    WATCHDOG.stop()
    assert any(thread.name == "plugin watchdog" for thread in threading.enumerate())
    WATCHDOG.stop()
    assert threading.active_count() == before


def test_outside_the_main_thread_there_is_none() -> None:
    said: list[bool] = []
    thread = threading.Thread(target=lambda: said.append(WATCHDOG.start()))
    thread.start()
    thread.join()
    assert said == [False]


def test_work_in_time_hands_back_what_it_returns_or_raises() -> None:
    assert in_time(lambda: 7) == 7

    def fail() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        in_time(fail)


@pytest.mark.timeout(60)
def test_work_that_takes_too_long_is_left_alone_and_ended() -> None:
    ended = threading.Event()

    def work() -> None:
        try:
            while True:
                time.sleep(0.001)
        finally:
            ended.set()

    with pytest.raises(Blocked, match=r"longer than 0\.1 s"):
        in_time(work, 0.1)
    assert ended.wait(30)


@pytest.mark.timeout(60)
def test_no_more_than_a_few_can_be_stuck_at_once() -> None:
    free = threading.Event()
    try:
        for _ in range(watchdog.DOCUMENT_THREADS):
            with pytest.raises(Blocked, match="longer"):
                in_time(lambda: free.wait(60), 0.01)
        with pytest.raises(Blocked, match="this one passes"):
            in_time(lambda: 7)
    finally:
        free.set()
    for _ in range(1000):  # each gives its place back once it ends
        try:
            assert in_time(lambda: 7) == 7
            break
        except Blocked:
            time.sleep(0.01)
    else:
        pytest.fail("no place came free")


def test_a_process_that_ends_without_a_stop_is_not_killed_by_the_timer() -> None:
    program = (
        "import atexit, time\n"
        "from zenzefi.rewriting.plugins import watchdog\n"
        "watchdog.TICK = 0.001\n"
        "watchdog.WATCHDOG.start()\n"
        "class Late:\n"  # runs when the handlers are given up already
        "    def __del__(self, clock=time.process_time):\n"
        "        until = clock() + 0.2\n"
        "        while clock() < until: pass\n"
        "import sys; sys.late = Late()\n"
        "raise SystemExit(3)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], timeout=60)
    assert ended.returncode == 3


@pytest.mark.usefixtures("quick")
@pytest.mark.timeout(60)
def test_work_that_eats_memory_is_ended_and_gives_it_back() -> None:
    class Branch:
        """Points to itself, as the parts of a tree do to one another."""

        def __init__(self) -> None:
            self.itself = self
            self.leaves: list[bytes] = []

    living: list[weakref.ref[Branch]] = []

    def eat() -> None:
        branch = Branch()
        living.append(weakref.ref(branch))
        while len(branch.leaves) < 4000:  # 4 GB, unless it is stopped
            branch.leaves.append(b"x" * (1 << 20))
            time.sleep(0.001)

    with pytest.raises(Blocked, match="too much memory"):
        in_time(eat, 60)
    for _ in range(1000):
        if living[0]() is None:
            return
        time.sleep(0.01)
    pytest.fail("what it ate is still there")
