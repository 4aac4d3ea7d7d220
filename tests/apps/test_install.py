"""The cache of the applications: installed once, safe to interrupt, safe to share."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.apps import install


class Steps:
    """Replaces the two slow steps of an installation."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs = 0
        self.fails = False
        monkeypatch.setattr(install, "install_python", self._python)
        monkeypatch.setattr(install, "install_node", self._node)

    def _python(self, at: Path) -> None:
        self.runs += 1
        assert list(at.iterdir()) == []  # nothing is left of an interrupted installation
        (at / "venv").mkdir()

    def _node(self, at: Path) -> None:
        time.sleep(0.05)
        if self.fails:
            raise subprocess.CalledProcessError(1, ["npm", "install"])


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


def test_a_second_run_installs_nothing(steps: Steps, tmp_path: Path) -> None:
    at = tmp_path / "cache" / "digest"
    assert not install.is_installed(at)
    assert install.install(at)
    assert install.is_installed(at)
    assert not install.install(at)
    assert steps.runs == 1


def test_a_failed_installation_is_not_used_and_is_repeated(steps: Steps, tmp_path: Path) -> None:
    at = tmp_path / "digest"
    steps.fails = True
    with pytest.raises(subprocess.CalledProcessError):
        install.install(at)
    assert not install.is_installed(at)
    steps.fails = False
    assert install.install(at)
    assert steps.runs == 2


def test_concurrent_runs_install_once(steps: Steps, tmp_path: Path) -> None:
    at = tmp_path / "digest"
    threads = [threading.Thread(target=install.install, args=(at,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert install.is_installed(at)
    assert steps.runs == 1


def test_the_folder_depends_on_the_requirements(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ZENZEFI_APPS", str(tmp_path))
    first = install.folder()
    assert first.parent == tmp_path
    assert install.folder() == first
    (tmp_path / "node").mkdir()
    for name in ("requirements.txt", "install.py"):
        (tmp_path / name).write_bytes((install.HERE / name).read_bytes())
    (tmp_path / "requirements.txt").write_text("django==1.0\n")
    monkeypatch.setattr(install, "HERE", tmp_path)
    assert install.folder() != first


def test_the_cache_follows_the_xdg_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ZENZEFI_APPS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert install.cache() == tmp_path / "zenzefi-apps"
