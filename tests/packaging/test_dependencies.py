"""Imported packages are declared in setup.cfg, and declared packages are imported."""

import ast
import configparser
import importlib.metadata
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SHIPPED = ("zenzefi", "plugins", "migrations")

# Declared and used, but not by an import statement of ours.
LOADED_BY_OTHERS = {
    "aiosqlite": "SQLAlchemy loads the driver that a sqlite+aiosqlite:// URL names",
    "asyncpg": "SQLAlchemy loads the driver that a postgresql+asyncpg:// URL names",
    "argon2-cffi": "passlib's backend for the password hashes that are made today",
    "bcrypt": "passlib's backend for password hashes of older installations",
    "hiredis": "redis-py parses replies with it where it is installed",
    "lxml": "the parser that Beautiful Soup is asked for by name",
    "tzdata": "zoneinfo reads it on systems without a time zone database",
    "star-openapi-redoc": "only its files are served",
    "star-openapi-swagger": "only its files are served",
    "opentelemetry-exporter-otlp-proto-http": "imported under the name opentelemetry",
}
# pytest runs the file that offers plugin authors their fixture; nothing else imports it.
FOR_AUTHORS = {"pytest": "zenzefi/plugins_testing.py"}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> set[str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    lines = config["options"]["install_requires"]
    lines += "".join(extras[name] for name in extras if name not in ("test", "lint"))
    found = re.findall(r"^([A-Za-z0-9._-]+)", lines, re.MULTILINE)
    return {normalised(name) for name in found}


def imported() -> dict[str, set[str]]:
    """Top-level modules of other projects, and the files that import them."""
    modules: dict[str, set[str]] = {}
    for folder in SHIPPED:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names = [node.module]
                else:
                    continue
                for name in names:
                    top = name.partition(".")[0]
                    if top not in sys.stdlib_module_names and top not in ("zenzefi", "plugins"):
                        modules.setdefault(top, set()).add(str(path.relative_to(ROOT)))
    return modules


def test_every_imported_package_is_declared() -> None:
    distributions = importlib.metadata.packages_distributions()
    names = declared()
    for module, files in imported().items():
        if files == {FOR_AUTHORS.get(module)}:
            continue
        providers = {normalised(name) for name in distributions[module]}
        assert providers & names, f"{module} is imported by {sorted(files)} and not declared"


def test_every_declared_package_is_used() -> None:
    distributions = importlib.metadata.packages_distributions()
    used = {normalised(name) for module in imported() for name in distributions[module]}
    assert declared() - used == set(LOADED_BY_OTHERS) - used
    assert set(LOADED_BY_OTHERS) <= declared()
