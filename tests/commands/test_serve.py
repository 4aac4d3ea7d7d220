"""``zenzefi serve`` as an operator meets it: a process, a port, signals."""

import socket
import subprocess
import sys

import pytest

from tests.commands.gate import Gate, environment


def test_it_says_where_to_click_answers_and_ends_on_sigterm(gate: Gate) -> None:
    assert "Zenzefi is ready" in gate.announcement
    assert "the bundled demo site" in gate.announcement
    assert gate.get("/nowhere").status == 404
    assert gate.stop() == 0


def test_a_port_in_use_is_one_line(tmp_path: object) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = _serve("--port", str(port), data_dir=str(tmp_path))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"127.0.0.1:{port} can't be listened on: another program uses it" in line


def test_a_missing_database_is_one_line_without_its_password(tmp_path: object) -> None:
    done = _serve(
        *("--port", "0"),
        data_dir=str(tmp_path),
        DEBUG="true",
        DATABASE_URL="postgresql://gate:hunter2@127.0.0.1:1/gate",
        ZENZEFI_TARGET_URL="http://127.0.0.1:1",
    )
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert "the database can't be reached" in line
    assert "hunter2" not in line


def test_wrong_settings_are_listed(tmp_path: object) -> None:
    done = _serve("--port", "0", data_dir=str(tmp_path), REDIS_PORT="x", PAYMENT_PROVIDERS="mock")
    assert done.returncode == 3
    assert "2 settings need attention" in done.stderr
    assert "Traceback" not in done.stderr


def test_several_workers_without_redis_are_refused(tmp_path: object) -> None:
    done = _serve("--port", "0", "--workers", "2", data_dir=str(tmp_path))
    assert done.returncode == 3
    assert "needs Redis" in done.stderr


@pytest.mark.parametrize("gate", [{"ZENZEFI_TARGET_URL": "http://127.0.0.1:1"}], indirect=True)
def test_it_starts_while_the_upstream_is_down_and_says_so(gate: Gate) -> None:
    assert "can't be reached" in gate.announcement
    assert gate.get("/nowhere").status == 404


def _serve(*args: str, data_dir: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zenzefi", "serve", *args],
        env=environment(data_dir, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
