"""Development reloads notice every kind of plugin: files, modules of their folder, packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from zenzefi.resources import bundled
from zenzefi.rewriting.plugins.registry import Registry

SOURCE = (
    "from zenzefi.plugins import Plugin\n"
    "class Said(Plugin):\n"
    "    name = '{name}'\n"
    "    version = '{version}'\n"
    "    def request_headers(self, context, headers): pass\n"
)


def test_a_changed_helper_module_reloads_the_plugin_beside_it(tmp_path: Path) -> None:
    helper = tmp_path / "_numbers_of_said.py"
    helper.write_text("NUMBER = '1'\n")
    source = SOURCE.format(name="said", version="").replace("version = ''", "version = NUMBER")
    (tmp_path / "said.py").write_text("from _numbers_of_said import NUMBER\n" + source)
    registry = Registry([bundled("plugins"), tmp_path], entry_points=False)
    assert registry["said"].plugin.version == "1"
    assert not registry.reload_if_changed()
    helper.write_text("NUMBER = '22'\n")
    assert registry.reload_if_changed()
    assert registry["said"].plugin.version == "22"


def test_a_changed_package_is_imported_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "installed_said.py"
    module.write_text(SOURCE.format(name="installed", version="1"))
    info = tmp_path / "installed_said-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: installed-said\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[zenzefi.plugins]\ninstalled = installed_said:Said\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Registry()
    assert registry["installed"].plugin.version == "1"
    assert not registry.reload_if_changed()
    module.write_text(SOURCE.format(name="installed", version="22"))
    assert registry.reload_if_changed()
    assert registry["installed"].plugin.version == "22"
