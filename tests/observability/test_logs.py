"""Logs never hold a secret, whichever way it tries to get in."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from tests.kit import api
from tests.kit.gates import GateClient
from zenzefi.observability import logs
from zenzefi.observability.access_log import AccessLog, AccessLogEntry
from zenzefi.observability.trace_context import trace_id_of
from zenzefi.settings import load_settings

TOKEN = "p6VmIdAPIbZQsgFpWSV4kP-iNZaWH7goea96D2rxJ2zESygM0oZOUJzkop99TxJt"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The log of the program with these settings; the root logger is restored after."""
    out = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers, root.level
    monkeypatch.setattr("sys.stdout", out)
    settings = load_settings(
        {
            "log_format": "json",
            "debug": True,
            "secret_key": "canary-secret-key",
            "database_url": "postgresql://gate:canary-db-pass@db/gate",
            "zenzefi_target_url": "https://app.example",
            "zenzefi_basic_auth_user": "me",
            "zenzefi_basic_auth_password": 'canary"basic',
        }
    )
    logs.configure(settings)
    yield out
    root.handlers = before
    root.setLevel(level)


@pytest.mark.parametrize(
    "secret",
    [TOKEN, JWT, "canary-secret-key", "canary-db-pass", 'canary"basic'],
)
def test_a_secret_is_blackened_wherever_it_stands(written: io.StringIO, secret: str) -> None:
    log = logging.getLogger("zenzefi.test")
    log.warning("message %s", secret)
    log.warning("in a value", extra={"address": f"https://x/?a=1&token={secret}"})
    log.warning("under its name", extra={"password": secret, "cookie": secret})
    try:
        raise ValueError(f"cannot use {secret}")
    except ValueError:
        log.exception("in a traceback")
    text = written.getvalue()
    assert text.count("\n") == 4
    assert secret not in text
    assert json.dumps(secret)[1:-1] not in text
    assert all(json.loads(line)["level"] in ("warning", "error") for line in text.splitlines())


def test_what_an_operator_looks_for_stays(written: io.StringIO) -> None:
    logging.getLogger("zenzefi.test").warning(
        "postgresql://gate:canary-db-pass@db.internal/gate refused", extra={"token_id": "81ab"}
    )
    line = json.loads(written.getvalue())
    assert "db.internal" in line["event"]
    assert line["token_id"] == "81ab"


async def test_driving_the_whole_program_leaves_no_secret_in_its_log(
    gate: GateClient, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    bearer = await api.sign_up(gate)
    token = str((await api.buy(gate, bearer))["token"])
    await api.call(gate, "POST", "/auth/login", json={"email": "x@y.zz", "password": "canary-pw-1"})
    for path, headers in (
        ("/api/v1/proxy/page", {"X-Access-Token": token}),
        (f"/api/v1/proxy/page?token={token}", {}),
        ("/api/v1/proxy/page", {"X-Access-Token": "canary-wrong-token"}),
        ("/api/v1/proxy/page", {"Cookie": f"zenzefi_access_token={token}"}),
        (f"/{token}", {}),
    ):
        async with gate.get(path, headers=headers) as response:
            await response.read()
    await gate.close()
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith("aiohttp.access")]
    said = "\n".join(ours) + capsys.readouterr().out
    assert '"path": "/api/v1/proxy/page"' in said
    for secret in (token, bearer, "canary-pw-1", "canary-wrong-token", api.ALICE["password"]):
        assert secret not in said


def test_the_access_log_is_bounded_and_obeys_no_control_bytes() -> None:
    out = io.StringIO()
    log = AccessLog(as_json=False, out=out)
    path = "/\x1b[31mred"
    log.add(AccessLogEntry(0.0, "gate", "GET", path, 200, 0.01, 3, "10.0.0.1", "id", ""))
    log.start()
    log.close()
    assert "\x1b" not in out.getvalue()
    assert "GET" in out.getvalue()


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", True),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", False),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", False),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", False),
        ("", False),
        (None, False),
    ],
)
def test_only_a_valid_trace_is_named(header: str | None, trace: bool) -> None:
    assert trace_id_of(header) == ("4bf92f3577b34da6a3ce929d0e0e4736" if trace else "")
