"""Listening on a Unix socket, and on sockets that systemd opened."""

import http.client
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.kit.gate_process import environment

# As systemd does: descriptor 3 is the socket, and LISTEN_PID names the process that runs.
ACTIVATION = """
import os, sys
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-m", "zenzefi", "serve", *sys.argv[1:]])
"""


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, bound_to: str = "") -> None:
        super().__init__("gate.example", timeout=30)
        self._path = path
        self._bound_to = bound_to

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if self._bound_to:
            self.sock.bind(self._bound_to)
        self.sock.connect(str(self._path))


def status(connection: http.client.HTTPConnection, path: str, **headers: str) -> int:
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


@contextmanager
def serving(
    folder: Path, *args: str, listener: socket.socket | None = None, **settings: Any
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A gate, and the lines that it has printed."""
    program = ["-m", "zenzefi", "serve"] if listener is None else ["-c", ACTIVATION]

    def pass_on() -> None:
        if listener is not None:
            os.dup2(listener.fileno(), 3)

    process = subprocess.Popen(
        [sys.executable, *program, *args],
        env=environment(str(folder), **settings),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=pass_on,
        close_fds=listener is None,
    )
    lines: list[str] = []
    ready = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if "Ctrl+C" in line:
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert ready.wait(240)
        yield process, lines
    finally:
        process.terminate()
        process.wait(40)
        reader.join(5)
        assert process.stdout is not None
        process.stdout.close()


PUBLIC: dict[str, Any] = {"BACKEND_URL": "http://127.0.0.1:8000"}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_unix_socket_serves_and_is_removed(tmp_path: Path, redis_url: str, workers: str) -> None:
    path = tmp_path / "gate.sock"
    given = ("--unix", str(path), "--workers", workers)
    with serving(tmp_path, *given, REDIS_URL=redis_url, **PUBLIC) as (process, lines):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert [status(UnixConnection(path), "/livez") for _ in range(4)] == [200] * 4
        assert f"listens    unix:{path}, behind" in "".join(lines)
        process.terminate()
        assert process.wait(40) == 0
    assert not path.exists()


def test_a_socket_without_a_listener_is_replaced_and_one_in_use_is_not(tmp_path: Path) -> None:
    path = tmp_path / "gate.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with serving(tmp_path, "--unix", str(path), **PUBLIC):
        assert status(UnixConnection(path), "/livez") == 200
        with serving(tmp_path, "--unix", str(path), **PUBLIC) as (second, lines):
            assert second.wait(40) == 1
        assert f"{path} can't be listened on: another program uses it" in "".join(lines)
        assert status(UnixConnection(path), "/livez") == 200
    path.write_text("another file")
    with serving(tmp_path, "--unix", str(path), **PUBLIC) as (third, lines):
        assert third.wait(40) == 1
    assert path.read_text() == "another file"


def test_a_unix_socket_needs_the_address_of_browsers_and_excludes_a_port(tmp_path: Path) -> None:
    path = str(tmp_path / "gate.sock")
    with serving(tmp_path, "--unix", path) as (process, lines):
        assert process.wait(40) == 3
    assert "BACKEND_URL is required with a Unix socket" in "".join(lines)
    with serving(tmp_path, "--unix", path, "--port", "0") as (process, lines):
        assert process.wait(40) == 2
    assert "excludes" in "".join(lines)


def addresses(lines: list[str]) -> list[str]:
    return re.findall(r'"address": "([^"]*)"', "".join(lines))


@pytest.mark.parametrize(
    ("trusted", "expected"), [("unix", "198.51.100.7"), ("10.0.0.0/8", ""), ("::1", "")]
)
def test_forwarded_headers_on_a_unix_socket_are_trusted_only_if_it_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "gate.sock"
    given: dict[str, Any] = {**PUBLIC, "TRUSTED_PROXIES": trusted}
    with serving(tmp_path, "--unix", str(path), **given) as (_, lines):
        forwarded = {"X-Forwarded-For": "198.51.100.7"}
        status(UnixConnection(path), "/livez", **forwarded)
        # The name that a client gives its own end proves nothing.
        status(UnixConnection(path, "10.0.0.1"), "/livez", **forwarded)
    assert addresses(lines) == [expected] * 2


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_socket_of_systemd_is_served_and_keeps_connections_between_two_runs(
    tmp_path: Path, redis_url: str, workers: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        given = ("--workers", workers)

        def connection() -> http.client.HTTPConnection:
            return http.client.HTTPConnection("127.0.0.1", port, timeout=60)

        with serving(tmp_path, *given, listener=listener, REDIS_URL=redis_url) as (process, lines):
            assert f"http://127.0.0.1:{port}/" in "".join(lines)
            assert status(connection(), "/livez") == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(40) == 0
        waiting = connection()
        waiting.connect()  # the socket is still open
        with serving(tmp_path, *given, listener=listener, REDIS_URL=redis_url):
            assert status(waiting, "/livez") == 200
