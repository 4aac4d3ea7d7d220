"""The program that supervises workers: replacements, signals, its end, and its size."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from zenzefi.runtime.supervisor import forget_metrics, read_all
from zenzefi.runtime.workers import anonymous_file

ROOT = Path(__file__).resolve().parents[2]
FORKED = """
import os, signal, socket, sys, time
from pathlib import Path
from zenzefi.runtime import workers

folder, kind = Path(sys.argv[1]), sys.argv[2]
groups = [[socket.create_server(("127.0.0.1", 0))] for _ in range(2)]
for number, group in enumerate(groups):
    (folder / f"port-{number}").write_text(str(group[0].getsockname()[1]))
readiness = workers.Readiness()

def work(sockets, ready):
    if kind == "never ready":
        raise SystemExit(3)
    if kind == "stopped at once":
        os.kill(os.getppid(), signal.SIGTERM)
    if kind == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        signal.signal(signal.SIGHUP, lambda *_: (folder / f"hup-{os.getpid()}").touch())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, workers.supervisor.SIGNALS)
    (folder / "metrics" / f"gauge_livesum_{os.getpid()}.db").touch()
    (folder / "metrics" / f"counter_{os.getpid()}.db").touch()
    ready()
    while True:
        time.sleep(60)

(folder / "metrics").mkdir()
code = folder / "replacement.py"
workers.run(work, groups, readiness, workers.Supervision(
    command=[sys.executable, "-I", "-S", str(code), str(readiness.writing), kind],
    kept=[], stop_timeout=0.5 if kind == "deaf" else 60, announcement=b"all are ready\\n",
    metrics_folder=str(folder / "metrics"), is_json=True,
    socket_file=(str(folder / "port-0"), (folder / "port-0").stat().st_ino),
    folder=str(folder / "metrics"),
))
"""
REPLACEMENT = """
import os, signal, sys, time
if sys.argv[2] == "never ready":
    sys.exit(3)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
os.write(int(sys.argv[1]), bytes([int(sys.argv[3])]))
while True:
    time.sleep(60)
"""
Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a supervisor of two workers of this kind."""
    started: list[subprocess.Popen[str]] = []
    (tmp_path / "replacement.py").write_text(REPLACEMENT)

    def starting(kind: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", FORKED, str(tmp_path), kind],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield starting
    for process in started:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children():
                child.kill()
            process.kill()
        process.communicate()


def until(is_true: Callable[[], object]) -> None:
    """Wait for a condition of other processes."""
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def announced(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    assert process.stderr.readline() == "all are ready\n"


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, log and errors of a supervisor that ends."""
    log, errors = process.communicate(timeout=60)
    return process.returncode, log, errors


def workers_of(process: subprocess.Popen[str]) -> dict[int, int]:
    """The workers by the port that each of them listens on."""
    found = {}
    for child in psutil.Process(process.pid).children():
        ports = [one.laddr.port for one in child.net_connections() if one.status == "LISTEN"]
        if len(ports) == 1:  # a new one closes the other groups first
            found[ports[0]] = child.pid
    return found


def test_a_crashed_worker_is_replaced_in_its_group_of_sockets(start: Start, tmp_path: Path) -> None:
    process = start("plain")
    announced(process)
    ports = [int((tmp_path / f"port-{index}").read_text()) for index in range(2)]
    before = workers_of(process)
    assert set(before) == set(ports)
    os.kill(before[ports[1]], signal.SIGKILL)
    until(lambda: workers_of(process).get(ports[1], before[ports[1]]) != before[ports[1]])
    after = workers_of(process)
    assert after[ports[0]] == before[ports[0]]
    with socket.create_connection(("127.0.0.1", ports[1])):
        pass
    left = {path.name for path in (tmp_path / "metrics").iterdir()}
    assert left == {
        f"gauge_livesum_{before[ports[0]]}.db",
        f"counter_{before[ports[0]]}.db",
        f"counter_{before[ports[1]]}.db",
    }
    process.terminate()
    code, log, errors = ended(process)
    assert (code, errors) == (0, "")
    assert '"event": "worker exited: worker=1 exit_code=-9", "level": "error"' in log
    assert not (tmp_path / "port-0").exists()  # the file of the Unix socket
    assert not (tmp_path / "metrics").exists()


def test_a_reload_reaches_the_workers_and_not_the_supervisor(start: Start, tmp_path: Path) -> None:
    process = start("plain")
    announced(process)
    process.send_signal(signal.SIGHUP)
    expected = {f"hup-{pid}" for pid in workers_of(process).values()}
    until(lambda: {path.name for path in tmp_path.glob("hup-*")} == expected)
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 0


def test_workers_that_never_become_ready_stop_the_supervisor(start: Start) -> None:
    code, log, errors = ended(start("never ready"))
    assert code == 1
    assert log.count("exit_code=3") == 3
    assert "workers fail to start: stopping" in log
    assert "all are ready" not in errors


def test_a_signal_before_the_supervisor_is_there_is_not_lost(start: Start) -> None:
    code, log, _ = ended(start("stopped at once"))
    assert (code, log) == (0, "")


def test_workers_that_do_not_stop_are_killed_after_the_timeout(start: Start) -> None:
    process = start("deaf")
    announced(process)
    process.terminate()
    code, log, _ = ended(process)
    assert code == 1
    assert "workers did not exit in time; killing them" in log


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_supervisor_is_small(start: Start) -> None:
    process = start("plain")
    announced(process)
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    private = sum(int(size) for size in re.findall(r"^Private_\w+: +(\d+) kB", rollup, re.M))
    assert private < 8_000
    process.terminate()
    assert ended(process)[0] == 0


def test_gauges_of_a_worker_are_dropped_as_by_the_library(tmp_path: Path) -> None:
    from prometheus_client import multiprocess

    modes = ("all", "liveall", "min", "livemin", "livesum", "livemax", "livemostrecent", "sum")
    left = []
    for folder in (tmp_path / "ours", tmp_path / "theirs"):
        folder.mkdir()
        for pid in (7, 17):
            for name in (*(f"gauge_{mode}" for mode in modes), "counter", "histogram"):
                (folder / f"{name}_{pid}.db").touch()
        if folder.name == "ours":
            forget_metrics(str(folder), 7)
        else:
            multiprocess.mark_process_dead(7, str(folder))  # type: ignore[no-untyped-call]
        left.append(sorted(path.name for path in folder.iterdir()))
    assert left[0] == left[1]
    forget_metrics("", 7)  # without a folder there is nothing to drop


@pytest.mark.parametrize("is_in_memory", [True, False])
def test_another_program_can_not_open_what_replacements_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_in_memory: bool
) -> None:
    """It holds the settings with their secrets, and a replacement unpickles it."""
    if not is_in_memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    descriptor = anonymous_file(b"the secret key")
    try:
        assert read_all(descriptor) == b"the secret key"
        assert os.fstat(descriptor).st_nlink == 0
        assert list(tmp_path.iterdir()) == []
        # A program that the gate starts does not get the descriptor either.
        reading = "import os, sys; print(os.pread(int(sys.argv[1]), 99, 0))"
        started = subprocess.run(
            [sys.executable, "-c", reading, str(descriptor)],
            close_fds=False,
            capture_output=True,
            text=True,
        )
        assert "Bad file descriptor" in started.stderr
        assert "secret" not in started.stdout
    finally:
        os.close(descriptor)
