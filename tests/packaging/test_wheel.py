"""A wheel in an empty environment is the whole program."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.kit.gate_process import GateProcess
from tests.kit.programs import run_program

ROOT = Path(__file__).resolve().parents[2]

# The first test that needs them builds the wheel and installs everything it requires.
pytestmark = pytest.mark.timeout(900)


def _tracked(folder: str) -> set[str]:
    """The files that belong to the program, as git lists them; without git, all files."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", folder], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = [name for name in listing.stdout.split("\0") if name]
    if listing.returncode != 0 or not names:
        names = [
            str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*") if path.is_file()
        ]
    return {
        name
        for name in names
        if "__pycache__" not in name
        and not Path(name).name.startswith(".")
        and (ROOT / name).is_file()
    }


@pytest.mark.parametrize(
    ("folder", "inside"),
    [
        ("zenzefi", "zenzefi"),
        ("plugins", "zenzefi/_bundled/plugins"),
        ("templates", "zenzefi/_bundled/templates"),
        ("migrations", "zenzefi/_bundled/migrations"),
    ],
)
def test_every_file_of_the_program_is_in_the_wheel(wheel: Path, folder: str, inside: str) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {inside + name.removeprefix(folder) for name in _tracked(folder)}
    assert wanted, f"{folder} is empty"
    assert wanted - held == set()


def test_nothing_else_is_in_the_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    strangers = [n for n in names if not n.startswith("zenzefi/") and ".dist-info/" not in n]
    assert strangers == []
    assert [n for n in names if n.endswith(".pyc") or "__pycache__" in n] == []


def test_the_installed_command_explains_itself(
    installed: Path, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    said = run_program(installed / "zenzefi", "--help", cwd=tmp_path, env=clean_env)
    assert "A gate in front of one web application" in said
    assert "serve" in said
    assert "migrate" in said


def test_it_migrates_and_serves_from_there(
    installed: Path, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    said = run_program(installed / "zenzefi", "migrate", cwd=tmp_path, env=clean_env)
    assert "Migrated from an empty database" in said
    gate = GateProcess(
        clean_env["DATA_DIR"], program=(str(installed / "zenzefi"),), in_checkout=False
    )
    try:
        assert json.loads(gate.get("/health").body)["status"] == "healthy"
        page = gate.get("/", Accept="text/html")
        assert page.status == 200
        assert b"<html" in page.body
    finally:
        assert gate.stop() == 0


def test_a_payment_provider_made_from_its_page_installs_beside_it(
    installed: Path, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    page = (ROOT / "docs" / "how-to" / "add-a-payment-provider.md").read_text("utf-8")
    (project,), (code,) = (
        re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL) for language in ("toml", "python")
    )
    package = tmp_path / "acme-zenzefi"
    package.mkdir()
    (package / "pyproject.toml").write_text(project)
    (package / "acme_zenzefi.py").write_text(code)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run_program(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", ".", cwd=package)
    (built,) = package.glob("*.whl")
    into = (*pip, "--python", installed / "python", "install", "-q", "--no-deps", built)
    run_program(*into, cwd=tmp_path)
    mine = {"PAYMENT_PROVIDERS": "acme", "ACME_KEY": "k", "ACME_WEBHOOK_SECRET": "s"}
    said = run_program(installed / "zenzefi", "check", "--json", cwd=tmp_path, env=clean_env | mine)
    (payments,) = [one for one in json.loads(said)["checks"] if one["name"] == "payments"]
    assert (payments["ok"], payments["detail"]) == (True, "acme")
