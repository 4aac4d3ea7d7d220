"""``zenzefi connect`` as its user meets it: a prompt, an address, a line that stays up to date."""

import contextlib
import http.server
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.kit.gate_process import GateProcess, environment
from tests.kit.ports import free_port
from zenzefi import i18n
from zenzefi.commands.connect import status_line

WHO = {"email": "ann@example.com", "password": "correct horse"}


def call(gate: GateProcess, method: str, path: str, body: Any = None, **headers: str) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{gate.port}/api/v1{path}",
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json", **headers},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


class Shop:
    """A running gate where tokens are to be had."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gate = GateProcess(str(folder))
        call(self.gate, "POST", "/auth/register", {**WHO, "username": "ann"})
        signed_in = call(self.gate, "POST", "/auth/login", WHO)
        self._bearer = {"Authorization": f"Bearer {signed_in['access_token']}"}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gate.port}"

    def buy(self) -> dict[str, Any]:
        purchase = {"duration_hours": 1}
        return dict(call(self.gate, "POST", "/tokens/purchase", purchase, **self._bearer))

    def revoke(self, token: dict[str, Any]) -> None:
        call(self.gate, "DELETE", f"/tokens/{token['id']}", **self._bearer)

    def restart(self, pause: float) -> None:
        port = str(self.gate.port)
        self.gate.stop()
        time.sleep(pause)
        self.gate = GateProcess(str(self.folder), "--port", port)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    running = Shop(tmp_path_factory.mktemp("shop"))
    yield running
    running.gate.stop()


@contextlib.contextmanager
def started(folder: Path, *args: str, **env: str) -> Iterator[pexpect.spawn]:
    """``zenzefi connect`` at a terminal of 70 columns."""
    child = pexpect.spawn(
        sys.executable,
        ["-m", "zenzefi", "connect", *args],
        env=environment(str(folder), TERM="xterm", **{"LC_ALL": "C.UTF-8", **env}),
        dimensions=(24, 70),
        encoding="utf-8",
        timeout=30,
    )
    try:
        yield child
    finally:
        child.close(force=True)


def connect(folder: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """``zenzefi connect`` without a terminal, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "zenzefi", "connect", *args],
        env=environment(str(folder), **{"LC_ALL": "C.UTF-8", **env}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def get(url: str, folder: Path) -> int:
    trusting = ssl.create_default_context(cafile=str(folder / "connect.pem"))
    try:
        with urllib.request.urlopen(url, context=trusting, timeout=20) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_it_prompts_serves_and_shows_the_state_of_the_token(shop: Shop, tmp_path: Path) -> None:
    token = shop.buy()
    port = str(free_port())
    with started(tmp_path, shop.url, "--port", port) as child:
        child.expect("Token: ")
        child.sendline(token["token"])
        child.expect(f"Open .*https://127.0.0.1:{port}/")
        child.expect("SHA-256 fingerprint")
        child.expect("ready, the time starts with your first request")
        assert get(f"https://127.0.0.1:{port}/lights/", tmp_path) == 200
        child.expect(r"connected  .  0:59:\d\d left  .  1 request  .  [\d.]+ kB in")
        told = Path(f"/proc/{child.pid}/cmdline").read_bytes()
        assert b"zenzefi" in told
        assert token["token"].encode() not in told
        child.sendintr()
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
    kept = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(kept) == 2  # the certificate and the device's name
    assert all(token["token"].encode() not in content for content in kept)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "connected  ·  6 d 23 h left  ·  1 request"),
        ("ru", "подключено  ·  осталось 6 д 23 ч"),
    ],
)
def test_days_that_are_left_are_in_the_language_of_the_terminal(language: str, text: str) -> None:
    with i18n.using(i18n.locale_context(language)):
        assert text in status_line("connected", 7 * 86400 - 1, 1, 0, 0)


def test_a_narrow_terminal_keeps_its_line(shop: Shop, tmp_path: Path) -> None:
    token = shop.buy()["token"]
    with started(tmp_path, shop.url, "--port", "0", "--http", ZENZEFI_ACCESS_TOKEN=token) as child:
        child.expect("Ctrl")
        child.expect(r"\r\x1b\[K([^\r]*)\r")
        assert len(child.match[1]) == 69


def test_it_waits_for_a_gate_that_is_away_and_ends_with_the_token(
    shop: Shop, tmp_path: Path
) -> None:
    token = shop.buy()
    port = free_port()
    with started(
        tmp_path, shop.url, "--port", str(port), "--http", ZENZEFI_ACCESS_TOKEN=token["token"]
    ) as child:
        child.expect("ready")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/lights/") as response:
            assert response.status == 200
        child.expect("connected")
        shop.gate.stop()
        with pytest.raises(urllib.error.HTTPError, match="502"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/lights/")
        shop.restart(0)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/lights/") as response:
            assert response.status == 200
        shop.revoke(token)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/lights/")
        child.expect("Your access token has been revoked. Buy another one on the account page.")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 1


def test_the_keyring_keeps_a_token_until_it_ends(shop: Shop, tmp_path: Path) -> None:
    token = shop.buy()
    kept = tmp_path / "keyring"
    args = (shop.url, "--port", "0", "--http", "--keyring")
    env = {
        "PYTHON_KEYRING_BACKEND": "tests.commands.file_keyring.Backend",
        "TEST_KEYRING": str(kept),
    }
    with started(tmp_path, *args, **env) as child:
        child.expect("Token: ")
        child.sendline(token["token"])
        child.expect("ready")
        child.kill(signal.SIGTERM)
        child.expect(pexpect.EOF)
    assert token["token"] in kept.read_text()
    with started(tmp_path, *args, **env) as child:
        child.expect("ready")  # without a question
        child.sendintr()
        child.expect(pexpect.EOF)
    shop.revoke(token)
    assert "has been revoked" in connect(tmp_path, *args, **env).stderr
    assert json.loads(kept.read_text()) == {}


def test_without_a_keyring_it_says_so(tmp_path: Path) -> None:
    done = connect(
        tmp_path,
        *("gate.example", "--keyring"),
        PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring",
    )
    assert done.returncode == 1
    assert "the keyring can't be used" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("args", "env", "code", "told"),
    [
        (("gate.example",), {}, 2, "--token-stdin"),
        (("gate.example",), {"ZENZEFI_ACCESS_TOKEN": "short"}, 2, "This is not an access token"),
        (
            ("gate.example",),
            {"ZENZEFI_ACCESS_TOKEN": "short", "LC_ALL": "ru_RU.UTF-8"},
            2,
            "Это не токен доступа",
        ),
        (("gate.example",), {"LC_ALL": "ru_RU.UTF-8"}, 2, "Токен не указан"),
        (("http://gate.example",), {}, 2, "your token could be read in transit"),
        (("https://gate.example/path",), {}, 2, "no path, no user"),
        (("gate.example", "--token", "x" * 64), {}, 2, "No such option"),
        (("gate.example", "--ca-file", __file__), {"ZENZEFI_ACCESS_TOKEN": "x" * 64}, 2, "no cert"),
    ],
)
def test_invalid_arguments_are_reported_before_anything_is_sent(
    tmp_path: Path, args: tuple[str, ...], env: dict[str, str], code: int, told: str
) -> None:
    done = connect(tmp_path, *args, "--port", "0", **env)
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_token_of_another_gate_ends_it(shop: Shop, tmp_path: Path) -> None:
    done = connect(tmp_path, shop.url, "--port", "0", ZENZEFI_ACCESS_TOKEN="x" * 64)
    assert done.returncode == 1
    assert "The access token is unknown" in done.stderr


class _Site(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"<h1>Hello</h1>")

    def log_message(self, *arguments: object) -> None:
        return


@contextlib.contextmanager
def site(status: int) -> Iterator[str]:
    handler = type("_Answering", (_Site,), {"status": status})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_something_else_at_the_address_ends_it(tmp_path: Path) -> None:
    with site(200) as url:
        done = connect(tmp_path, url, "--port", "0", ZENZEFI_ACCESS_TOKEN="x" * 64)
    assert done.returncode == 1
    assert "not like a Zenzefi gate" in done.stderr


def test_a_web_server_that_misses_its_gate_is_waited_for(tmp_path: Path) -> None:
    with (
        site(502) as url,
        started(tmp_path, url, "--port", "0", ZENZEFI_ACCESS_TOKEN="x" * 64) as child,
    ):
        child.expect("the gate can't be reached, trying again")
        assert os.path.exists(f"/proc/{child.pid}")
