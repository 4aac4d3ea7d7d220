"""The structure of the code: import directions, sizes, names, documentation, start-up imports."""

import ast
import importlib
import inspect
import pkgutil
import secrets
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import zenzefi

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 400


def test_the_imports_between_packages_run_one_way() -> None:
    check = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Contracts:" in done.stdout
    assert " 0 broken" in done.stdout


def test_every_module_is_forbidden_to_import_the_composition_root() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (rule,) = (
        contract
        for contract in contracts["tool"]["importlinter"]["contracts"]
        if contract["name"] == "only the command line knows the composition root"
    )
    modules = {f"zenzefi.{module.name}" for module in pkgutil.iter_modules(zenzefi.__path__)}
    assert modules - {"zenzefi.__main__", "zenzefi._bundled"} == {
        *rule["source_modules"],
        *rule["forbidden_modules"],
    }


def _files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def test_no_file_is_longer_than_400_lines() -> None:
    long = {
        path.relative_to(ROOT).as_posix()
        for path in _files("zenzefi", "plugins", "bench", "scripts", "tests")
        if len(path.read_text(encoding="utf-8").splitlines()) > MAX_LINES
    }
    assert not long


def test_no_two_classes_of_the_program_have_the_same_name() -> None:
    files = defaultdict(list)
    for path in _files("zenzefi"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                files[node.name].append(path.relative_to(ROOT).as_posix())
    assert not {name: found for name, found in files.items() if len(found) > 1}


def _classes() -> Iterator[type]:
    for module in pkgutil.walk_packages(zenzefi.__path__, "zenzefi."):
        if module.name.startswith("zenzefi._bundled") or module.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(value) and value.__module__ == module.name:
                yield value


def _public_methods(kind: type) -> Iterator[tuple[str, object]]:
    for name, member in vars(kind).items():
        is_method = isinstance(member, property | classmethod | staticmethod)
        if not name.startswith("_") and (is_method or inspect.isfunction(member)):
            yield name, member


def test_public_methods_have_a_docstring_where_they_are_defined_first() -> None:
    """Overrides and methods of protocols need none: ruff's D102 cannot tell them apart."""
    classes = [kind for kind in _classes() if not kind.__name__.startswith("_")]
    protocols = [kind for kind in classes if getattr(kind, "_is_protocol", False)]
    described = {name for protocol in protocols for name, _ in _public_methods(protocol)}
    missing = [
        f"{kind.__module__}.{kind.__qualname__}.{name}"
        for kind in classes
        for name, member in _public_methods(kind)
        if not inspect.getdoc(member)
        and name not in described
        and not any(name in vars(base) for base in kind.__mro__[1:])
    ]
    assert not missing


_AT_START = """
import asyncio, sys
import zenzefi.commands.serve, zenzefi.runtime.server
from zenzefi.app import create_app
from zenzefi.observability import logs
from zenzefi.settings import Settings
from zenzefi.db import migrate
from zenzefi.db.engine import Database

settings = Settings(
    _env_file=None, secret_key={secret!r}, data_dir={folder!r}, zenzefi_target_url="http://127.0.0.1:9"
)

logs.configure(settings)

async def start():
    database = Database(settings.sqlalchemy_url)
    await migrate.ensure(database, automatic={migrates})
    await database.close()
    app = create_app(settings)
    app.freeze()
    await app.startup()
    await app.cleanup()

asyncio.run(start())
print("LOADED", *sys.modules, *{{name.partition(".")[0] for name in sys.modules}})
"""

# Only a migration, a payment, an e-mail, a second factor, a plugin, PostgreSQL or a terminal needs
# them.
HEAVY = {
    *("alembic", "mako", "redis", "stripe", "bs4", "lxml", "aiosmtplib", "segno", "pyotp"),
    *("asyncpg", "structlog", "rich", "pygments", "opentelemetry"),
    "sqlalchemy.dialects.postgresql",
}


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
        loaded = set(done.stdout.rpartition("LOADED")[2].split())
        if migrates:  # an empty database: this is the one start that needs it
            assert "alembic" in loaded
    assert not loaded & HEAVY
