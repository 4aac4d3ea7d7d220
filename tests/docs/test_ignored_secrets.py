"""Git ignores every secret file that the documents tell readers to create in a checkout."""

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


def test_git_ignores_secret_files_named_in_documents() -> None:
    for path, document in CREATED.items():
        name = Path(path).parts[0] if path.startswith("first-gate") else Path(path).name
        assert name.partition(".pem")[0] in (ROOT / document).read_text(encoding="utf-8"), path
        done = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
        assert done.returncode == 0, (
            f"git does not ignore {path}, which {document} tells readers to create"
        )


def test_git_ignores_environment_files_named_in_deploy() -> None:
    for file in (ROOT / "deploy").rglob("*"):
        if not file.is_file() or file.suffix in (".png", ".json"):
            continue
        for name in re.findall(r"[\w./-]*\.env\b(?!\.example)", file.read_text(encoding="utf-8")):
            path = "deploy/" + name.rpartition("/")[2]
            done = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
            assert done.returncode == 0, f"{file.name} names {name}"
