"""Versions of packages, images and actions are pinned."""

import configparser
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def pins() -> dict[str, set[Version]]:
    """The versions of each package; several for several versions of Python."""
    found: dict[str, set[Version]] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.lstrip().startswith("#"):
            name, version = line.partition(";")[0].strip().split("==")
            found.setdefault(canonicalize_name(name), set()).add(Version(version))
    return found


def requirements() -> list[Requirement]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    text = config["options"]["install_requires"]
    text += "".join(f"\n{lines}" for lines in config["options.extras_require"].values())
    lines = [line.strip() for line in text.splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_requirement_has_a_pinned_version_that_it_allows(requirement: Requirement) -> None:
    versions = pins()[canonicalize_name(requirement.name)]
    assert all(requirement.specifier.contains(version) for version in versions)


def test_aiohttp_stays_at_its_minor_version() -> None:
    (aiohttp,) = (one.specifier for one in requirements() if one.name == "aiohttp")
    (version,) = pins()["aiohttp"]
    assert not aiohttp.contains(f"{version.major}.{version.minor + 1}")


def test_images_have_an_exact_version() -> None:
    files = [ROOT / "docker-compose.dev.yml", ROOT / "deploy" / "compose.yml", *WORKFLOWS]
    text = "\n".join(file.read_text() for file in files)
    images = re.findall(r"^ +(?:image|container): (\S+)$", text, re.MULTILINE)
    images += re.findall(r"^FROM (\S+)", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    assert len(images) > 8
    for image in set(images) - {"zenzefi"}:
        name, _, tag = image.partition(":")
        parts = 2 if name == "postgres" else 3  # PostgreSQL's versions have two
        assert re.match(r"\d+" + r"\.\d+" * (parts - 1) + r"(?!\.)", tag), image


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_actions_and_tools_of_the_workflows_are_pinned(file: Path) -> None:
    text = file.read_text()
    for action in re.findall(r"uses: (\S+)", text):
        assert re.search(r"@[0-9a-f]{40}$", action), action
    for line in re.findall(r"pip install (.*)", text):
        assert "==" in line or "-c constraints.txt" in line, line


def test_the_audit_fails_closed() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    job = text[text.index("  audit:") :]
    assert "--strict" in job
    assert "--requirement constraints.txt" in job
    assert "continue-on-error" not in text


def test_what_is_built_and_tested_uses_the_constraints() -> None:
    for name in ("Makefile", "deploy/Dockerfile"):
        for line in re.findall(r"pip install (.*)", (ROOT / name).read_text()):
            assert "-c constraints.txt" in line or "uv>=" in line, (name, line)


INDEX_NAME = re.compile(r"pip install [^`\n]*(?<![./\w-])'?zenzefi(?!-\*|-\d| @ )\b")


@pytest.mark.parametrize(
    "page", [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "deploy").rglob("*.*")]
)
def test_no_page_installs_by_a_name_that_a_stranger_can_register(page: Path) -> None:
    """The package is not on the index, so its name there can belong to others."""
    if page.suffix in (".md", ".service", ".yml"):
        assert INDEX_NAME.search(page.read_text(encoding="utf-8")) is None
