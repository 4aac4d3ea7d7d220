"""``zenzefi serve`` as an operator meets it: a process, a port, signals."""

import asyncio
import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.kit.gate_process import GateProcess, environment
from tests.kit.ports import free_port


def test_it_prints_its_address_serves_and_exits_on_sigterm(gate: GateProcess) -> None:
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


async def test_a_database_that_was_never_made_is_one_line(
    empty_postgres: str, tmp_path: object
) -> None:
    url = empty_postgres.replace("+asyncpg", "")
    done = await asyncio.to_thread(
        _serve,
        *("--port", "0"),
        data_dir=str(tmp_path),
        DEBUG="true",
        DATABASE_URL=f"{url}_absent",
        ZENZEFI_TARGET_URL="http://127.0.0.1:1",
    )
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert "does not exist" in line


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "zenzefi.sqlite3").write_text("something else")
    done = _serve("--port", "0", data_dir=str(tmp_path))
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert "file is not a database" in line


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"PLUGIN_DIR": "/nowhere"}, "PLUGIN_DIR: /nowhere is not a folder"),
        ({"PLUGINS_DISABLED": "absent"}, "PLUGINS_DISABLED names 'absent'"),
        ({"PAYMENT_PROVIDERS": "absent"}, "provider 'absent' is not installed"),
        ({"PAYMENT_PROVIDERS": "stripe"}, "stripe needs STRIPE_SECRET_KEY"),
    ],
)
def test_settings_that_fail_during_the_start_are_reported_alike(
    tmp_path: object, setting: dict[str, str], told: str
) -> None:
    done = _serve("--port", "0", data_dir=str(tmp_path), **setting)
    assert done.returncode == 3
    assert "1 setting needs attention" in done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_settings_are_listed(tmp_path: object) -> None:
    done = _serve("--port", "0", data_dir=str(tmp_path), REDIS_PORT="x", PAYMENT_PROVIDERS="mock")
    assert done.returncode == 3
    assert "2 settings need attention" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_gate_that_would_ask_itself_does_not_start(tmp_path: object) -> None:
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    done = _serve("--port", port, data_dir=str(tmp_path), ZENZEFI_TARGET_URL=url)
    assert done.returncode == 3
    assert done.stderr == f"zenzefi: ZENZEFI_TARGET_URL is this gate itself: {url}.\n"


@pytest.mark.parametrize("gate", [{"BACKEND_URL": "https://gate.example"}], indirect=True)
def test_behind_a_web_server_it_says_where_it_listens_too(gate: GateProcess) -> None:
    assert "Open  https://gate.example/" in gate.announcement
    assert f"listens    http://127.0.0.1:{gate.port}, behind" in gate.announcement


def test_sighup_reads_the_file_of_settings_anew(gate: GateProcess, tmp_path: Path) -> None:
    assert gate.get("/docs").status == 200
    (tmp_path / ".env").write_text("TOKEN_PRICE_1H=7.00\nRATE_LIMIT_API=many\n")
    gate.process.send_signal(signal.SIGHUP)
    until(lambda: "settings not reloaded" in gate.output)
    (tmp_path / ".env").write_text("TOKEN_PRICE_1H=7.00\n")
    gate.process.send_signal(signal.SIGHUP)
    until(lambda: "token_price_1h" in gate.output)
    assert "is not a rate" in gate.output


@pytest.mark.parametrize(
    "gate",
    [{"TRUSTED_PROXY": "10.0.0.1", "ZENZEFI_TARGET_URL": "http://127.0.0.1:9"}],
    indirect=True,
)
def test_what_a_reload_can_not_change_is_named(gate: GateProcess, tmp_path: Path) -> None:
    """The settings that ``serve`` completes by itself are not among it."""
    assert "Unknown setting TRUSTED_PROXY. Did you mean TRUSTED_PROXIES?" in gate.announcement
    (tmp_path / ".env").write_text("TOKEN_PRICE_1H=7.00\n")
    gate.process.send_signal(signal.SIGHUP)
    until(lambda: "settings reloaded" in gate.output)
    assert '"needs_restart": []' in gate.output
    (tmp_path / ".env").write_text(
        "DRAIN_TIMEOUT=7\nBACKEND_URL=http://127.0.0.1:1\nSECRET_KEY=" + "k7Lq" * 12 + "\n"
        "TRUSTED_PROXIES=10.0.0.0/8\nTOKEN_PRICE_24=5\n"
    )
    gate.process.send_signal(signal.SIGHUP)
    names = '"needs_restart": ["backend_url", "drain_timeout", "secret_key", "trusted_proxies"]'
    until(lambda: names in gate.output)
    assert "Did you mean TOKEN_PRICE_24H?" in gate.output
    assert "k7Lq" not in gate.output


def test_a_misspelt_setting_is_named_with_those_that_are_missing(tmp_path: Path) -> None:
    done = _serve(
        *("--port", "0"),
        data_dir=str(tmp_path),
        DATABASE_URL="postgresql://u@127.0.0.1:1/d",
        SECRETKEY="x",
        TARGET_URL="http://127.0.0.1:9",
    )
    assert done.returncode == 3
    assert "SECRET_KEY is required" in done.stderr
    assert "Unknown setting SECRETKEY. Did you mean SECRET_KEY?" in done.stderr
    assert "Unknown setting TARGET_URL. Did you mean ZENZEFI_TARGET_URL?" in done.stderr


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_systemd_hears_when_it_is_ready(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(60)
        gate = GateProcess(str(tmp_path), NOTIFY_SOCKET=str(tmp_path / "notify"))
        try:
            assert supervisor.recv(100) == b"READY=1"
        finally:
            gate.stop()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_weak_key_does_not_listen_where_others_can_reach_it(tmp_path: Path, host: str) -> None:
    done = _serve("--port", "0", "--host", host, data_dir=str(tmp_path), SECRET_KEY="password")
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert "SECRET_KEY is shorter than 32 characters" in line
    assert f"--host {host}" in line


def test_several_workers_without_redis_are_refused(tmp_path: object) -> None:
    done = _serve("--port", "0", "--workers", "2", data_dir=str(tmp_path))
    assert done.returncode == 3
    assert "needs Redis" in done.stderr


@pytest.mark.parametrize("gate", [{"ZENZEFI_TARGET_URL": "http://127.0.0.1:1"}], indirect=True)
def test_it_starts_while_the_upstream_is_down_and_says_so(gate: GateProcess) -> None:
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


def _enter(port: int, host: str) -> int:
    """The response of the application origin's sign-in at this port with this Host."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/.well-known/zenzefi/enter", headers={"Host": host})
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_second_port_is_served_too(tmp_path: Path) -> None:
    second = free_port()
    gate = GateProcess(str(tmp_path), PROXY_PORT=str(second))
    try:
        assert f"http://127.0.0.1:{second}/ shows the application" in gate.announcement
        assert "share cookies" in gate.announcement
        assert _enter(second, f"127.0.0.1:{second}") == 303
        assert _enter(gate.port, f"127.0.0.1:{gate.port}") == 401
    finally:
        gate.stop()


def test_every_worker_serves_the_second_port(tmp_path: Path, redis_url: str) -> None:
    second = free_port()
    gate = GateProcess(str(tmp_path), "--workers", "2", PROXY_PORT=str(second), REDIS_URL=redis_url)
    try:
        for _ in range(20):  # a connection each, so that both workers get some
            assert _enter(second, f"127.0.0.1:{second}") == 303
        workers = psutil.Process(gate.process.pid).children()
        for worker in workers:
            ports = {one.laddr.port for one in worker.net_connections() if one.status == "LISTEN"}
            assert ports >= {gate.port, second}  # and the demo site
    finally:
        assert gate.stop() == 0


def test_another_loopback_name_shows_the_application_without_set_up(gate: GateProcess) -> None:
    own = f"app.localhost:{gate.port}"
    assert f"http://{own}/ shows the application" in gate.announcement
    assert "!" not in gate.announcement
    assert _enter(gate.port, own) == 303


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (("--host", "0.0.0.0"), {}, "Browsers on other machines can't open the application"),
        ((), {"BACKEND_URL": "http://gate.example"}, "Set PROXY_HOST to another host name"),
        ((), {"BROWSER_MOUNT": "prefix"}, "BROWSER_MOUNT=prefix: the application's scripts"),
    ],
)
def test_the_start_says_what_is_risky_or_missing(
    tmp_path: Path, arguments: tuple[str, ...], settings: dict[str, Any], said: str
) -> None:
    gate = GateProcess(
        str(tmp_path), *arguments, SECRET_KEY="N3pTqzH0aYw7uVJrKc8dXf2LmB5sGe9RiOoUtZ1W", **settings
    )
    try:
        assert said in " ".join(gate.announcement.split())
    finally:
        gate.stop()
    if "BROWSER_MOUNT" in settings:  # in the log, where no terminal shows the start
        assert "BROWSER_MOUNT=prefix" in gate.output


def test_the_second_port_is_another_one(tmp_path: object) -> None:
    port = str(free_port())
    done = _serve("--port", port, data_dir=str(tmp_path), PROXY_PORT=port)
    assert done.returncode == 3
    assert "PROXY_PORT must be another port than --port" in done.stderr


PRODUCTION = {"BACKEND_URL": "https://gate.example", "FREE_FOR_ALL": "false"}


def test_a_gate_that_is_free_for_everybody_starts_only_on_request(tmp_path: Path) -> None:
    done = _serve("--port", "0", data_dir=str(tmp_path), **PRODUCTION)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert "Everybody can register and use the application free of charge" in line
