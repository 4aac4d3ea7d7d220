"""``zenzefi remote`` against a running gate, with an API key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.kit.gate_process import GateProcess
from zenzefi.cli import main


def run(*args: str, input: str | None = None, **env: str) -> Result:
    return CliRunner().invoke(main, args, input=input, env=env, catch_exceptions=False)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GateProcess]:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("FREE_FOR_ALL", "true")
    gate = GateProcess(str(tmp_path))
    yield gate
    gate.stop()


def test_a_program_uses_a_gate_elsewhere_with_a_key(served: GateProcess) -> None:
    run("user", "create", "ann@example.com", ZENZEFI_PASSWORD="correct horse battery")
    asked = ("key", "create", "ann@example.com", "--name", "robot")
    permissions = [("--permission", one) for one in ("account:read", "tokens:read", "buy")]
    key = run(*asked, *(word for pair in permissions for word in pair)).stdout.strip()

    def remote(*args: str, **env: str) -> Any:
        env = {"ZENZEFI_GATE": f"http://127.0.0.1:{served.port}", "ZENZEFI_API_KEY": key} | env
        return run("remote", *args, **env)

    assert "ann@example.com" in remote("account").stdout
    bought = json.loads(remote("buy", "--hours", "24", "--json").stdout)
    assert len(bought["token"]) == 64
    (listed,) = json.loads(remote("tokens", "--json").stdout)
    assert listed["id"] == bought["id"]
    shown = remote("tokens").stdout
    assert bought["id"] in shown
    assert bought["token"] not in shown
    refused = remote("revoke", bought["id"])
    assert refused.exit_code == 1
    assert "lacks the permission tokens:write. (api_key_forbidden)" in refused.stderr
    called = remote("call", "GET", "/tokens/my-tokens?active_only=false&limit=1")
    assert json.loads(called.stdout)[0]["id"] == bought["id"]
    assert remote("call", "GET", "https://other.example/").exit_code == 2
    assert remote("call", "POST", "/tokens/purchase", "--data", "{").exit_code == 2
    assert "can't be reached" in remote("account", ZENZEFI_GATE="http://127.0.0.1:1").stderr
    unknown = remote("account", ZENZEFI_API_KEY="znk_" + "A" * 43)
    assert "Could not validate credentials (invalid_credentials)" in unknown.stderr


def test_a_key_is_never_an_argument_and_never_sent_unencrypted() -> None:
    refused = run("remote", "--gate", "http://gate.example", "account", ZENZEFI_API_KEY="znk_x")
    assert refused.exit_code == 2
    assert "not encrypted" in refused.stderr
    missing = run("remote", "--gate", "https://gate.example", "account")
    assert missing.exit_code == 2
    assert "ZENZEFI_API_KEY" in missing.stderr
    assert run("remote", "--key", "znk_x", "account").exit_code == 2
