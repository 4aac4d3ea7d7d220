"""The arrows of the house run one way: the contracts in pyproject.toml hold."""

import secrets
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_arrows_between_packages_run_one_way() -> None:
    check = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Contracts:" in done.stdout
    assert " 0 broken" in done.stdout


_AT_START = """
import asyncio, sys
import zenzefi.commands.serve, zenzefi.runtime.server
from zenzefi.app import create_app
from zenzefi.settings import Settings
from zenzefi.db import migrate
from zenzefi.db.engine import Database

settings = Settings(
    _env_file=None, secret_key={secret!r}, data_dir={folder!r}, zenzefi_target_url="http://127.0.0.1:9"
)

async def start():
    database = Database(settings.sqlalchemy_url)
    await migrate.ensure(database, automatic={migrates})
    await database.close()
    app = create_app(settings)
    app.freeze()
    await app.startup()
    await app.cleanup()

asyncio.run(start())
print(*{{name.partition(".")[0] for name in sys.modules}})
"""

# What only a migration, a payment, a mail, a second step or a plugin needs.
HEAVY = {"alembic", "mako", "redis", "stripe", "bs4", "lxml", "aiosmtplib", "segno", "pyotp"}


def test_a_serving_process_loads_only_what_it_needs_at_start(tmp_path: Path) -> None:
    loaded: set[str] = set()
    for migrates in (True, False):
        program = _AT_START.format(
            secret=secrets.token_urlsafe(48), folder=str(tmp_path), migrates=migrates
        )
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=110
        )
        assert done.returncode == 0, done.stderr
        loaded = set(done.stdout.split())
        if migrates:  # an empty database: this is the one start that needs it
            assert "alembic" in loaded
    assert not loaded & HEAVY
