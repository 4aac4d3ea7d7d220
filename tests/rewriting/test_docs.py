"""The plugin documents: their code runs, and they cover the whole public API."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from zenzefi import plugins
from zenzefi.commands.hooks_reference import EXAMPLES, attributes, reference
from zenzefi.rewriting.plugins.api import HOOKS, Plugin
from zenzefi.rewriting.plugins.registry import Registry

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", TUTORIAL, re.S))


def test_the_code_of_the_tutorial_runs_and_passes_its_own_tests(tmp_path: Path) -> None:
    assert len(FILES) >= 5
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            *sorted(name for name in FILES if name.startswith("test_")),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


def test_the_plugins_of_the_tutorial_load_from_a_folder(tmp_path: Path) -> None:
    for name in ("greeting.py", "shout.py"):
        (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    loaded = Registry([tmp_path], entry_points=False, options={"greeting": {"text": "Hi"}})
    assert {entry.name for entry in loaded.entries} == {"greeting", "shout"}


def test_the_entry_point_of_the_tutorial_names_its_class() -> None:
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    module, _, name = project["entry-points"]["zenzefi.plugins"]["greeting"].partition(":")
    assert f"class {name}(Plugin)" in FILES[f"{module}.py"]


@pytest.mark.parametrize(
    "said", ["zenzefi plugin new", "plugin try", "plugin check", "plugin list", "PLUGIN_DIR"]
)
def test_the_tutorial_leads_through_the_tools(said: str) -> None:
    assert said in TUTORIAL


def test_every_bundled_example_is_named_in_the_tutorial() -> None:
    for plugin_class, source in Registry.for_gate().found.values():
        if not plugin_class.enabled:
            assert f"`{Path(source).name}`" in TUTORIAL


def test_the_reference_is_up_to_date() -> None:
    page = (ROOT / "docs" / "reference" / "hooks.md").read_text(encoding="utf-8")
    assert page == reference(), "run: make docs"


def test_every_hook_and_attribute_is_documented() -> None:
    page = reference()
    for hook in HOOKS:
        assert (inspect.getdoc(getattr(Plugin, hook)) or "").strip()
        assert f"#### `{hook}(" in page
    assert all(text for text in attributes(Plugin).values())
    public = {
        name
        for name, member in vars(Plugin).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }
    assert public == {*HOOKS, "address"}


@pytest.mark.parametrize("name", plugins.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    thing = getattr(plugins, name)
    assert (inspect.getdoc(thing) or "").strip()
    assert not (inspect.getdoc(thing) or "").startswith(f"{name}(")  # a bare signature
    assert f"`{name}" in reference()


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_has_an_example_that_shows_it(hook: str) -> None:
    file = (ROOT / "docs" / "reference" / EXAMPLES[hook]).resolve()
    assert re.search(rf"\n    (async )?def {hook}\(", file.read_text(encoding="utf-8"))
