"""One wheel, built from what git would hand over, and one empty environment with it installed."""

import os
import shutil
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.programs import run_program

ROOT = Path(__file__).resolve().parents[2]
_PARTS = ("zenzefi", "plugins", "templates", "migrations")
_FILES = ("setup.cfg", "setup.py", "pyproject.toml", "README.md")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel. Built in a copy, because setuptools leaves its workings in the tree."""
    source = tmp_path_factory.mktemp("source")
    for name in _PARTS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _FILES:
        shutil.copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run_program(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", out, ".", cwd=source)
    (built,) = out.glob("zenzefi-*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The ``bin`` folder of an environment that holds the wheel and what it asks for, no more."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, with_pip=False, symlinks=True)
    # The pip of this environment installs into the other: that saves installing pip there first.
    # Python compiles the modules that are imported; pip would compile all of them.
    run_program(
        *(sys.executable, "-m", "pip", "--disable-pip-version-check"),
        *("--python", home / "bin" / "python", "install", "--quiet", "--no-compile", wheel),
        cwd=home,
        timeout=600,
    )
    yield home / "bin"
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def clean_env(tmp_path: Path) -> dict[str, str]:
    """An environment without a trace of this checkout, its data in a separate folder."""
    kept = {k: os.environ[k] for k in ("PATH", "HOME", "LANG", "LC_ALL") if k in os.environ}
    return {**kept, "DATA_DIR": str(tmp_path / "data")}
