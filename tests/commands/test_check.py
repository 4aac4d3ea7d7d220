"""``zenzefi check`` proves what it says: each thing that it calls working has been tried."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from sqlalchemy import text
from sqlalchemy.engine import make_url

from tests.kit.ports import free_port
from tests.kit.servers import own_redis
from zenzefi.db.engine import Database
from zenzefi.runtime import checks
from zenzefi.settings import load_settings

NOWHERE = "http://127.0.0.1:1"
UNUSABLE = {
    "DATABASE_URL": "sqlite:////proc/x/gate.sqlite3",
    "SECRET_KEY": "Qm8-xV2rTz6Lk9WdPq5hB3nYc7Jf1GsA",
    "ZENZEFI_TARGET_URL": NOWHERE,
}


def report(done: Any) -> dict[str, Any]:
    """The results, by name."""
    return {one["name"]: one for one in json.loads(done.stdout)["checks"]}


def failed(done: Any) -> dict[str, str]:
    return {name: one["detail"] for name, one in report(done).items() if not one["ok"]}


def test_everything_that_is_named_has_been_tried(zenzefi: Any) -> None:
    done = zenzefi(
        "check", "--json", ZENZEFI_TARGET_URL=NOWHERE, METRICS_LISTEN=f"127.0.0.1:{free_port()}"
    )
    found = report(done)
    assert done.exit_code == 4
    assert failed(done) == {"upstream": f"{NOWHERE} can't be reached (Connection refused)"}
    assert {"settings", "database", "secret key", "plugins", "payments", "metrics"} <= set(found)
    assert "redis" not in found or "delivers messages" in found["redis"]["detail"]
    assert "works" in zenzefi("check").stdout


def test_a_key_that_does_not_open_the_tokens_is_found(zenzefi: Any) -> None:
    password = "correct horse battery"
    zenzefi("user", "create", "ann@example.com", ZENZEFI_PASSWORD=password)
    zenzefi("token", "issue", "ann@example.com")
    kept = report(zenzefi("check", "--json"))["secret key"]
    assert "decrypts the stored tokens" in kept["detail"]
    done = zenzefi("check", "--json", SECRET_KEY=UNUSABLE["SECRET_KEY"])
    assert "PREVIOUS_SECRET_KEYS" in failed(done)["secret key"]
    assert done.exit_code == 3


@pytest.mark.parametrize(
    ("setting", "name", "told"),
    [
        ({"PLUGIN_DIR": "/nowhere"}, "plugins", "/nowhere is not a folder"),
        ({"PLUGINS_DISABLED": "absent"}, "plugins", "names 'absent'"),
        ({"PAYMENT_PROVIDERS": "stripe"}, "payments", "needs STRIPE_SECRET_KEY"),
        ({"METRICS_LISTEN": "192.0.2.1:9100"}, "metrics", "can't be listened on"),
        (
            {"FREE_FOR_ALL": "false", "BACKEND_URL": "https://gate.example"},
            "access",
            "REGISTRATION=closed",
        ),
        ({"REDIS_URL": "nonsense"}, "settings", "REDIS_URL: must start with redis://"),
        ({"REDIS_URL": "redis://h:x"}, "settings", "REDIS_URL: its port is not a number"),
        ({"DATABASE_URL": "postgresql://h:x/d"}, "settings", "DATABASE_URL: its port"),
        ({"DATABASE_URL": "sqlite://"}, "settings", "DATABASE_URL: must contain a file name"),
        ({"BACKEND_URL": NOWHERE, "ZENZEFI_TARGET_URL": NOWHERE}, "settings", "gate itself"),
        (UNUSABLE, "database", "/proc/x can't be used"),
    ],
)
def test_a_setting_that_serving_would_refuse_is_refused_here_too(
    zenzefi: Any, setting: dict[str, str], name: str, told: str
) -> None:
    done = zenzefi("check", "--json", **setting)
    assert told in failed(done)[name]
    assert done.exit_code == 3


def test_an_unreachable_mail_server_is_reported(zenzefi: Any) -> None:
    done = zenzefi("check", "--json", MAIL_URL="smtp://me:hunter2@127.0.0.1:1")
    assert failed(done)["mail"] == "127.0.0.1:1 can't be used (Connection refused)"
    assert "hunter2" not in done.output


def test_a_proxy_whose_headers_were_ignored_is_named(zenzefi: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(exist_ok=True)
    file = tmp_path / "data" / "ignored-proxies.json"
    file.write_text(json.dumps({"10.0.0.9": time.time()}))
    (note,) = json.loads(zenzefi("check", "--json").stdout)["notes"]
    assert "10.0.0.9" in note
    assert "TRUSTED_PROXIES" in note
    listed = zenzefi("check", "--json", TRUSTED_PROXIES="10.0.0.0/24")
    assert json.loads(listed.stdout)["notes"] == []


def test_a_name_close_to_a_setting_gets_a_suggestion(zenzefi: Any) -> None:
    done = zenzefi("check", "--json", DATABSE_URL="x", SECRET_KY_FILE="/y", HOME="/root")
    assert json.loads(done.stdout)["notes"] == [
        "Unknown setting DATABSE_URL. Did you mean DATABASE_URL?",
        "Unknown setting SECRET_KY_FILE. Did you mean SECRET_KEY_FILE?",
    ]


def test_what_the_mount_of_browsers_risks_is_noted(zenzefi: Any) -> None:
    done = zenzefi("check", "--json", BROWSER_MOUNT="prefix")
    (note,) = json.loads(done.stdout)["notes"]
    assert "scripts run on the origin of the account and administration pages" in note
    assert json.loads(zenzefi("check", "--json").stdout)["notes"] == []


# --- single checks


@pytest.fixture
async def reader(postgres_database: str) -> AsyncIterator[str]:
    """The URL of a role that may read and not write."""
    owner = Database(postgres_database)
    role = f"reader_{make_url(postgres_database).database}"
    try:
        async with owner.begin() as connection:
            await connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'r'"))
            await connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"))
        url = make_url(postgres_database).set(username=role, password="r")
        yield url.render_as_string(hide_password=False)
        async with owner.begin() as connection:
            await connection.execute(text(f"DROP OWNED BY {role}"))
            await connection.execute(text(f"DROP ROLE {role}"))
    finally:
        await owner.close()


async def test_a_database_that_only_reads_does_not_pass(reader: str) -> None:
    database = Database(reader)
    found = await checks.check_database(database)
    await database.close()
    assert not found.ok
    assert "does not let this user write" in found.detail


async def test_a_standby_does_not_pass(postgres_database: str) -> None:
    database = Database(postgres_database)
    name = make_url(postgres_database).database
    async with database.read() as connection:
        await connection.execute(
            text(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        )
    await database.close()
    again = Database(postgres_database)
    found = await checks.check_database(again)
    await again.close()
    assert not found.ok
    assert "is read-only" in found.detail


@pytest.fixture
def full_redis() -> Iterator[str]:
    """A Redis that responds and refuses writes."""
    with own_redis() as server:
        with socket.create_connection(("127.0.0.1", server.port)) as wire:
            wire.sendall(b"CONFIG SET maxmemory 1\r\n")
            assert wire.recv(100) == b"+OK\r\n"
        yield server.url


async def test_a_redis_that_keeps_nothing_does_not_pass(full_redis: str) -> None:
    assert (await checks.ping_redis(full_redis)).ok
    found = await checks.check_redis(full_redis)
    assert not found.ok
    assert "maxmemory" in found.detail


@pytest.mark.parametrize(
    ("location", "told"), [("https://elsewhere.example/x", "is that the application?"), ("/x", "")]
)
async def test_an_upstream_that_redirects_elsewhere_is_reported(location: str, told: str) -> None:
    async def lead(request: web.Request) -> web.Response:
        return web.Response(status=301, headers={"Location": location})

    app = web.Application()
    app.router.add_get("/", lead)
    async with TestServer(app) as server:
        settings = load_settings(
            {"debug": True, "zenzefi_target_url": str(server.make_url("/")).rstrip("/")}
        )
        found = await checks.check_upstream(settings)
    assert found.ok
    assert told in found.detail
    assert ("elsewhere" in found.detail) == bool(told)


async def test_an_upstream_that_is_silent_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found = await checks.check_upstream(
            load_settings({"debug": True, "zenzefi_target_url": url})
        )
    assert found.detail == f"{url} does not respond within 0.2 seconds"


def test_a_folder_that_can_not_be_used_is_one_line(zenzefi: Any) -> None:
    done = zenzefi("user", "list", **UNUSABLE)
    assert done.exit_code == 3
    assert done.stderr == "zenzefi: /proc/x can't be used: No such file or directory.\n"


def test_check_reconciles_the_ledger(zenzefi: Any) -> None:
    def ledger() -> dict[str, Any] | None:
        done = zenzefi("check", "--json", ZENZEFI_TARGET_URL=NOWHERE)
        books = [one for one in json.loads(done.stdout)["checks"] if one["name"] == "ledger"]
        return dict(books[0]) if books else None

    before = ledger()  # the database does not exist yet
    assert before is None or before["ok"] is True
    zenzefi("user", "create", "ann@example.com", ZENZEFI_PASSWORD="correct horse battery")
    issued = zenzefi("token", "issue", "ann@example.com")
    assert issued.exit_code == 0
    right = ledger()
    assert right is not None
    assert right["ok"] is True
    assert right["detail"].endswith("(accounts: 1, rows: 0)")
    asyncio.run(_pocket())
    wrong = ledger()
    assert wrong is not None
    assert wrong["ok"] is False
    assert "the balance is not the sum of the ledger" in wrong["detail"]


async def _pocket() -> None:
    """Change a balance directly in the database."""
    database = Database(load_settings().sqlalchemy_url)
    async with database.begin() as connection:
        await connection.execute(text("UPDATE users SET currency_balance = 100"))
    await database.close()
