"""Git ignores every secret that a document tells people to create in the checkout."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

CREATED = {
    "deploy/gate.env": "deploy/compose.yml",
    "deploy/tls/fullchain.pem": "deploy/compose.yml",
    "deploy/tls/privkey.pem": "deploy/compose.yml",
    "gate.env": "deploy/zenzefi.service",
    ".env": "docs/reference/settings.md",
    "first-gate/secret_key": "docs/tutorials/first-gate.md",
    "first-gate/zenzefi.sqlite3": "docs/tutorials/first-gate.md",
}


def test_git_ignores_every_secret_that_a_document_has_people_create() -> None:
    for path, document in CREATED.items():
        name = Path(path).parts[0] if path.startswith("first-gate") else Path(path).name
        assert name.partition(".pem")[0] in (ROOT / document).read_text(encoding="utf-8"), path
        done = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
        assert done.returncode == 0, f"git would take {path}, which {document} has people create"


def test_every_environment_file_that_deploy_names_is_ignored() -> None:
    for file in (ROOT / "deploy").rglob("*"):
        if not file.is_file() or file.suffix in (".png", ".json"):
            continue
        for name in re.findall(r"[\w./-]*\.env\b(?!\.example)", file.read_text(encoding="utf-8")):
            path = "deploy/" + name.rpartition("/")[2]
            done = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
            assert done.returncode == 0, f"{file.name} names {name}"
